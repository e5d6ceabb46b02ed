// A cashbox for the tests of one package, and what a shop must get right: `go test cashbox_test.go`.
package shop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

const token = "cbx_test-admin-token" // of every server for tests

type cashbox struct {
	t   *testing.T
	url string
}

// start runs a server that stops with the test: each test, parallel ones too, has one of its own.
func start(t *testing.T) *cashbox {
	command := exec.Command("cashbox", "serve", "--test", "--while-input")
	stdin, _ := command.StdinPipe()
	stdout, _ := command.StdoutPipe()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); command.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n') // listening on http://127.0.0.1:34567
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	return &cashbox{t, words[len(words)-1]}
}

type answer map[string]any

// ask returns the status and the JSON of the answer, or an error if the connection is closed without one.
func (c *cashbox) ask(method, path, body, key string) (int, answer, error) {
	request, _ := http.NewRequest(method, c.url+path, bytes.NewBufferString(body))
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	request.Close = true // Go repeats a request by itself where a kept connection was closed
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	read := answer{}
	if response.StatusCode != http.StatusNoContent {
		err = json.NewDecoder(response.Body).Decode(&read)
	}
	return response.StatusCode, read, err
}

func (c *cashbox) must(method, path, body, key string) answer {
	c.t.Helper()
	status, read, err := c.ask(method, path, body, key)
	if err != nil || status >= 300 {
		c.t.Fatal(status, read, err)
	}
	return read
}

func (c *cashbox) balance(user, wanted string) {
	c.t.Helper()
	if got := c.must("GET", "/v1/wallets/"+user, "", "")["balance"]; got != wanted {
		c.t.Fatalf("the balance is %v, not %s", got, wanted)
	}
}

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.must("POST", "/v1/wallets/alice/recharge", `{"amount":"100"}`, "")
	c.must("POST", "/test/faults", `{"do":"drop_after","match":{"key":"order-1"}}`, "")
	if _, _, err := c.ask("POST", "/v1/wallets/alice/pay", `{"amount":"30"}`, "order-1"); err == nil {
		t.Fatal("there was an answer")
	}
	c.must("POST", "/v1/wallets/alice/pay", `{"amount":"30"}`, "order-1")
	c.balance("alice", "70.00")
}

func TestDoubleClickPaysOnce(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.must("POST", "/v1/wallets/alice/recharge", `{"amount":"100"}`, "")
	pause := c.must("POST", "/test/pauses", `{"at":"before_commit","match":{"key":"order-1"}}`, "")["pause"].(map[string]any)
	path := fmt.Sprintf("/test/pauses/%v", pause["id"])
	answers := make(chan int, 2)
	pay := func() {
		status, _, _ := c.ask("POST", "/v1/wallets/alice/pay", `{"amount":"30"}`, "order-1")
		answers <- status
	}
	go pay()
	c.must("GET", path+"?wait_ms=10000", "", "")
	go pay()
	c.must("POST", path+"/release", "", "")
	if first, second := <-answers, <-answers; first != 200 || second != 200 {
		t.Fatal(first, second)
	}
	c.balance("alice", "70.00")
}

func TestExpiredHoldIsGivenBack(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.must("POST", "/v1/wallets/alice/recharge", `{"amount":"100"}`, "")
	c.must("POST", "/v1/wallets/alice/holds", `{"amount":"30","expires_in_s":600}`, "")
	c.must("POST", "/test/clock", `{"advance_ms":599999}`, "")
	c.balance("alice", "70.00")
	c.must("POST", "/test/clock", `{"advance_ms":1}`, "")
	c.balance("alice", "100.00")
}
