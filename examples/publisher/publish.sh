#!/bin/sh
# Publishes with curl. A back end needs no more than this, in any language.
#
#   FANFARE_URL=http://127.0.0.1:8000 API_KEY=… HASH=demo examples/publisher/publish.sh
#
# Channels whose names share a {tag} live together in the store, so that an atomic batch can span them.
set -eu
url="${FANFARE_URL:-http://127.0.0.1:8000}/api/v1/${HASH:-demo}"

# The key goes in by a file descriptor: other users of the machine see command lines.
call() {
  method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --max-time 20 --request "$method" --config - "$url$path" "$@" <<KEY
header = "Authorization: Bearer ${API_KEY:?is not set}"
header = "Content-Type: application/json"
KEY
  echo
}

echo "# to everybody on a channel"
call POST /events --data '{"channel":"chat/orders","data":{"order":7,"state":"paid"}}'

echo "# kept, and stored once however often it is sent: the id is the order's"
call POST /events --data '{"channel":"chat/orders","data":{"order":7,"state":"sent"},"id":"order-7-sent"}'
call POST /events --data '{"channel":"chat/orders","data":{"order":7,"state":"sent"},"id":"order-7-sent"}'

echo "# to one user, wherever that user is connected"
call POST /events --data '{"channel":"chat/orders","data":"for you","dbo_id":17,"row_id":3}'

echo "# all or none, on two channels"
call POST /events/batch --data '{"atomic":true,"events":[
  {"channel":"chat/{order7}/items","data":{"add":"tea"}},
  {"channel":"chat/{order7}/log","data":"tea was added"}]}'

echo "# what is kept, oldest first"
call GET '/channels/chat%2Forders/history?limit=10'

echo "# who is where"
call GET /channels
