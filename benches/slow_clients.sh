#!/bin/sh
# What slow clients cost: slowhttptest opens 1,000 connections in each of its modes, while good requests go on. Prints a row
# of docs/benchmarks.md for each.
#
#   apt-get install -y slowhttptest curl
#   cargo build --release && benches/slow_clients.sh [target/release/portcullis]
#
# All limits are the defaults. The upstream is another portcullis that answers by itself.
set -eu

binary=${1:-target/release/portcullis}
connections=${CONNECTIONS:-1000}
gateway=127.0.0.1:18080
upstream=127.0.0.1:18081
admin=127.0.0.1:18082
folder=$(mktemp -d)
processes=
trap 'for process in $processes; do kill "$process" 2>/dev/null || true; done; rm -rf "$folder"' EXIT
ulimit -n "$(ulimit -Hn)"

large=$(head -c 200000 /dev/zero | tr '\0' x)
cat > "$folder/upstream.yaml" <<END
listeners: [{address: "$upstream"}]
admin: {address: off}
server: {state_directory: none}
log: {access: off}
routes:
  - {path_prefix: /, auth: none, respond: {status: 200, body: "$large"}}
END
cat > "$folder/gateway.yaml" <<END
listeners: [{address: "$gateway"}]
admin: {address: "$admin"}
server: {state_directory: none}
log: {access: json, output: "$folder/access.log"}
routes:
  - {path_prefix: /, auth: none, upstream: back}
upstreams:
  back: {servers: ["$upstream"]}
END

"$binary" run -c "$folder/upstream.yaml" 2>"$folder/upstream.err" & processes="$processes $!"
"$binary" run -c "$folder/gateway.yaml" 2>"$folder/gateway.err" & pid=$!; processes="$processes $pid"
until curl -sf -o /dev/null "http://$admin/readyz"; do sleep 0.1; done

resident() { awk '/^VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$pid/status"; }
open_connections() { curl -s "http://$admin/metrics" | awk '/^portcullis_connections / {print $2}'; }

# One good request after the other on new connections, until the file `stop` is there.
good_requests() {
    rm -f "$folder/stop"
    : > "$folder/good"
    while [ ! -e "$folder/stop" ]; do
        curl -s -o /dev/null -m 10 -w '%{http_code} %{time_total}\n' "http://$gateway/good" >> "$folder/good" || true
        sleep 0.02
    done
}

row() {
    name=$1
    shift
    good_requests & good=$!
    processes="$processes $good"
    began=$(date +%s)
    slowhttptest -c "$connections" -r 250 -l 120 -p 5 -u "http://$gateway/slow" "$@" > "$folder/slow.out" 2>&1 & slow=$!
    processes="$processes $slow"
    most=0
    memory=0
    while kill -0 "$slow" 2>/dev/null; do
        now=$(open_connections)
        [ "${now:-0}" -gt "$most" ] && most=$now
        used=$(resident)
        [ "$used" -gt "$memory" ] && memory=$used
        sleep 0.25
    done
    ended=$(date +%s)
    touch "$folder/stop"
    wait "$good" 2>/dev/null || true
    sort -k2 -n "$folder/good" > "$folder/sorted"
    total=$(wc -l < "$folder/sorted")
    failed=$(grep -vc '^200 ' "$folder/sorted" || true)
    at() { awk -v line="$(( (total * $1 + 99) / 100 ))" 'NR == line {printf "%.1f", $2 * 1000}' "$folder/sorted"; }
    echo "| $name | $most | $((ended - began)) s | $((total - failed)) of $total | $(at 50) | $(at 99) | $(at 100) | $memory |"
}

echo "| mode | connections open at most | all ended after | good requests answered | median, ms | 99 %, ms | longest, ms | memory at most, MiB |"
echo "|---|---|---|---|---|---|---|---|"
row 'none' -c 1 -H -i 1 -t GET
row 'slow heads (`-H -i 5 -t GET`)' -H -i 5 -t GET
row 'slow bodies (`-B -i 110 -s 8192 -t POST`)' -B -i 110 -s 8192 -t POST
row 'slow readers (`-X -w 10 -y 20 -n 5 -z 32 -k 3`)' -X -w 10 -y 20 -n 5 -z 32 -k 3
