"""The simulator as a process: `python -m stack.simulator --scenario cascade`.

Prints one JSON line, {"origins": {exchange: URL}, "control": URL}, when it listens; ends on SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from schemas.errors import LiqcascadeError
from stack.simulator.scenarios import SCENARIOS
from stack.simulator.server import Simulator, SimulatorOptions


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stack.simulator",
        description="Speaks the exchanges' protocols on loopback and plays a scenario or captured frames.",
        epilog="example: python -m stack.simulator --scenario cascade --seed 7 --port 9001",
    )
    parser.add_argument("--scenario", choices=tuple(SCENARIOS), default="cascade")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds play equal scenarios")
    parser.add_argument("--repeat", action="store_true", help="play the scenario again and again")
    parser.add_argument("--frames", type=Path, metavar="DIR", help="play captured frames instead of a scenario")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument(
        "--wait-for-subscribers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin when every exchange has a subscriber; otherwise at POST /simulator/play",
    )
    parser.add_argument("--speed", type=float, default=1.0, help="the scenario runs so many times as fast")
    parser.add_argument("--okx-backlog", action="store_true", help="OKX repeats its last frame to a new subscriber")
    return parser.parse_args(arguments)


async def run(arguments: argparse.Namespace) -> None:
    """Serve until a signal comes; raises what goes wrong in the play."""
    options = SimulatorOptions(
        scenario=arguments.scenario,
        seed=arguments.seed,
        frames=arguments.frames,
        repeat=arguments.repeat,
        wait_for_subscribers=arguments.wait_for_subscribers,
        okx_backlog=arguments.okx_backlog,
        speed=arguments.speed,
    )
    simulator, ended = Simulator(options), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    origins = await simulator.start(arguments.port)
    print(json.dumps({"origins": origins, "control": simulator.control}), flush=True)
    end, play = asyncio.create_task(ended.wait()), asyncio.create_task(simulator.played())
    try:
        await asyncio.wait((end, play), return_when=asyncio.FIRST_COMPLETED)
        if play.done():
            play.result()
        await end  # all has been played: stay for those who ask what was sent
    finally:
        play.cancel()
        await simulator.stop()


def main() -> int:
    """Run the process; its exit code."""
    try:
        asyncio.run(run(parse_arguments(sys.argv[1:])))
    except LiqcascadeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
