#!/bin/sh
# What slow clients cost: slowhttptest opens 1,000 connections in each of its modes, while good requests go on. Prints a row
# of docs/benchmarks.md for each.
#
#   apt-get install -y slowhttptest curl python3
#   cargo build --release && benches/slow_clients.sh [target/release/portcullis]
#
# All limits are the defaults. It needs root, for a network namespace of its own: ports are free there, and socket buffers
# can be made so small that a thousand slow readers do not take the memory of the machine's TCP.
set -eu

if [ "${1:-}" != --inside ]; then
    exec unshare -n "$0" --inside "$@"
fi
shift
ip link set lo up
echo "4096 16384 65536" > /proc/sys/net/ipv4/tcp_wmem
echo "4096 65536 131072" > /proc/sys/net/ipv4/tcp_rmem

binary=${1:-target/release/portcullis}
connections=${CONNECTIONS:-1000}
gateway=127.0.0.1:28480
upstream=127.0.0.1:28481
admin=127.0.0.1:28482
folder=$(mktemp -d)
processes=
trap 'for process in $processes; do kill "$process" 2>/dev/null || true; done; rm -rf "$folder"' EXIT
ulimit -n "$(ulimit -Hn)"

cat > "$folder/upstream.py" <<'END'
# Reads each request to its end and answers: /slow at length, everything else shortly.
import asyncio, sys

PART = b"x" * 4096

async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            length = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
            await reader.readexactly(sum(length))
            parts = 1024 if lines[0].startswith(b"get /slow") else 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (parts * len(PART)))
            for _ in range(parts):
                writer.write(PART)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()

async def main(host, port):
    async with await asyncio.start_server(serve, host, int(port), backlog=4096) as server:
        await server.serve_forever()

asyncio.run(main(*sys.argv[1].split(":")))
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

python3 "$folder/upstream.py" "$upstream" 2>"$folder/upstream.err" & processes="$processes $!"
"$binary" run -c "$folder/gateway.yaml" 2>"$folder/gateway.err" & pid=$!; processes="$processes $pid"
until curl -sf -o /dev/null "http://$admin/readyz" && curl -sf -o /dev/null "http://$gateway/good"; do
    kill -0 "$pid" || { cat "$folder"/*.err; exit 1; }
    sleep 0.1
done

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
    # Over when the gateway has let all of them go, whatever the tool still holds.
    while kill -0 "$slow" 2>/dev/null; do
        now=$(open_connections)
        now=${now:-0}
        [ "$now" -gt "$most" ] && most=$now
        [ "$most" -ge "$connections" ] && [ "$now" -lt 5 ] && break
        used=$(resident)
        [ "$used" -gt "$memory" ] && memory=$used
        sleep 0.25
    done
    ended=$(date +%s)
    kill "$slow" 2>/dev/null || true
    touch "$folder/stop"
    wait "$good" 2>/dev/null || true
    sort -k2 -n "$folder/good" > "$folder/sorted"
    total=$(wc -l < "$folder/sorted")
    failed=$(grep -vc '^200 ' "$folder/sorted" || true)
    at() { awk -v line="$(( (total * $1 + 99) / 100 ))" 'NR == line {printf "%.1f", $2 * 1000}' "$folder/sorted"; }
    echo "| $name | $most | $((ended - began)) s | $((total - failed)) of $total | $(at 50) | $(at 99) | $(at 100) | $memory |"
}

echo "| mode | connections open at most | all gone after | good requests answered | median, ms | 99 %, ms | longest, ms | memory at most, MiB |"
echo "|---|---|---|---|---|---|---|---|"
row 'one slow head, for comparison' -c 1 -H -i 5 -t GET
row 'slow heads (`-H -i 5 -t GET`)' -H -i 5 -t GET
row 'slow bodies (`-B -i 110 -s 8192 -t POST`)' -B -i 110 -s 8192 -t POST
row 'slow readers (`-X -w 512 -y 1024 -n 5 -z 32`)' -X -w 512 -y 1024 -n 5 -z 32
