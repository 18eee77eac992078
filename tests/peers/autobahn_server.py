"""Autobahn's cases as a WebSocket server: asks the client that comes, and tells what it saw of it."""
import asyncio, json, sys
import kosoku

async def main():
    async with kosoku.run_fuzzingserver(sys.argv[1].split(","), sys.argv[2].split(","), port=0) as server:
        print(json.dumps({"port": server.port}), flush=True)
        try:
            results = await server.get_result()
        except kosoku.FailureError as failure:
            results = failure.results
    seen = [[case.case_id, case.behavior.value, case.behavior_close.value, case.remote_close_code,
             # All of every frame that came but its mask, which is random.
             repr([entry[1:-1] for entry in case.wirelog if entry[0] == "RF"])]
            for case in results]
    failed = [case.case_id for case in results if not case.passed]
    print(json.dumps({"cases": len(results), "failed": failed, "seen": seen}), flush=True)

asyncio.run(main())
