#!/usr/bin/env bash
# A cashbox for one script, and what a shop must get right: `bash shop.sh`.
set -euo pipefail
folder=$(mktemp -d)
export CASHBOX_DB=$folder/shop.db # the commands find the server by its file
cashbox --db "$CASHBOX_DB" serve --test > "$folder/address" 2> "$folder/log" &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -r "$folder"' EXIT
until grep -qs listening "$folder/address"; do sleep 0.01; done

balance() { cashbox --json wallet alice | grep -o '"balance":"[^"]*"' | cut -d'"' -f4; }
is() { [ "$1" = "$2" ] || { echo "it is $1, not $2"; exit 1; }; }

fresh() {
    cashbox test reset > "$folder/out"
    cashbox --quiet recharge alice 100 > "$folder/out"
}

# A lost answer: the command line asks again under its key by itself.
fresh
cashbox test fault drop_after --key order-1 > "$folder/out"
cashbox pay alice 30 --key order-1 > "$folder/out"
is "$(balance)" 70.00

# A double click: the second comes while the first is inside its transaction.
fresh
cashbox test pause before_commit --key order-1 > "$folder/out"
cashbox pay alice 30 --key order-1 > "$folder/first" &
first=$!
pause=$(cashbox --json test pauses | grep -o '"id":[0-9]*' | cut -d: -f2)
cashbox test paused "$pause" > "$folder/out"
cashbox pay alice 30 --key order-1 > "$folder/second" &
second=$!
cashbox test release "$pause" > "$folder/out"
wait "$first" "$second"
is "$(balance)" 70.00

# A hold that expires.
fresh
cashbox hold alice 30 --expires 10m > "$folder/out"
cashbox test clock --advance 599999ms > "$folder/out"
is "$(balance)" 70.00
cashbox test clock --advance 1ms > "$folder/out"
is "$(balance)" 100.00
