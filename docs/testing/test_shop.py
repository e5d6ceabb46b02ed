"""What a shop must get right, provoked: a lost answer, a double click, an expired hold, a refund that races a payment."""

import pytest

from conftest import LostAnswer


@pytest.fixture
def alice(cashbox):
    cashbox.must("POST", "/v1/wallets/alice/recharge", {"amount": "100"})
    return "/v1/wallets/alice"


def test_lost_answer_is_asked_for_again(cashbox, alice):
    cashbox.fault("drop_after", key="order-1")
    with pytest.raises(LostAnswer):
        cashbox.ask("POST", alice + "/pay", {"amount": "30"}, key="order-1")
    cashbox.must("POST", alice + "/pay", {"amount": "30"}, key="order-1")
    assert cashbox.balance("alice") == "70.00"


def test_double_click_pays_once(cashbox, alice):
    pause = cashbox.pause("before_commit", key="order-1")
    first = cashbox.later("POST", alice + "/pay", {"amount": "30"}, key="order-1")
    pause.reached()
    second = cashbox.later("POST", alice + "/pay", {"amount": "30"}, key="order-1")
    pause.release()
    (first_status, first_answer), (second_status, second_answer) = first(), second()
    assert (first_status, second_status) == (200, 200)
    assert first_answer["entry"]["id"] == second_answer["entry"]["id"]
    assert cashbox.balance("alice") == "70.00"


def test_expired_hold_cannot_be_captured(cashbox, alice):
    hold = cashbox.must("POST", alice + "/holds", {"amount": "30", "expires_in_s": 600})["hold"]["id"]
    assert cashbox.balance("alice") == "70.00"
    cashbox.advance(599.999)
    assert cashbox.balance("alice") == "70.00"
    cashbox.advance(0.001)
    assert cashbox.balance("alice") == "100.00"
    status, answer = cashbox.ask("POST", f"/v1/holds/{hold}/capture")
    assert (status, answer["error"]) == (409, "hold_expired")


@pytest.mark.parametrize("first", ["refund", "payment"])
def test_refund_races_a_payment(cashbox, alice, first):
    """Both want the same 100.00: whichever comes first, no cent is spent twice."""
    recharge = cashbox.must("GET", "/v1/entries?limit=1")["data"][0]["id"]
    requests = {
        "refund": ("POST", f"/v1/entries/{recharge}/refund", {}),
        "payment": ("POST", alice + "/pay", {"amount": "60"}),
    }
    late = next(name for name in requests if name != first)
    pause = cashbox.pause("arrival", key=late)
    slow = cashbox.later(*requests[late], key=late)
    pause.reached()
    assert cashbox.ask(*requests[first], key=first)[0] == 200
    pause.release()
    status, answer = slow()
    assert (status, answer["error"]) == (402, "insufficient_funds")
    assert cashbox.balance("alice") == ("0.00" if first == "refund" else "40.00")
