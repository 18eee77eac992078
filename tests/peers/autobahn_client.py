"""Runs Autobahn's cases against a WebSocket server directly and by way of the gateway, and compares what came back."""
import asyncio, json, sys
import kosoku

direct, gateway, included, excluded = sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4].split(",")

async def results(url):
    try:
        return await kosoku.run_fuzzingclient(url, included, excluded, concurrency=4)
    except kosoku.FailureError as failure:
        return failure.results

def seen(case):
    """What the case saw: its verdicts, every frame and every message that came, and how it ended."""
    frames = [entry[1:] for entry in case.wirelog if entry[0] == "RF"]
    return [case.behavior.value, case.behavior_close.value, case.remote_close_code, case.remote_close_reason,
            case.was_clean, repr(frames), repr(case.received)]

async def main():
    one, other = await results(direct), await results(gateway)
    assert [case.case_id for case in one] == [case.case_id for case in other]
    differing = [f"{a.case_id}: {seen(a)} != {seen(b)}"[:2000] for a, b in zip(one, other) if seen(a) != seen(b)]
    print(json.dumps({"cases": len(one), "failed": [case.case_id for case in other if not case.passed],
                      "failed_direct": [case.case_id for case in one if not case.passed], "differing": differing}))

asyncio.run(main())
