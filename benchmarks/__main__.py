"""Run every benchmark, or those named, and print a table of ratios.

python -m benchmarks [decode] [speculation] [training] [startup] [views]
                     [--repeats 5] [--threads 1] [--cpu-time] [--csv table.csv]
"""

import argparse
import csv
import platform
import time
from dataclasses import astuple, fields

import torch
import transformers

from benchmarks import decode, speculation, startup, timing, training, views
from benchmarks.timing import Row

BENCHMARKS = {
    module.__name__.rpartition(".")[-1]: module.rows for module in (startup, decode, speculation, training, views)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="which; all unless named")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="of this process, where others share the machine")
    parser.add_argument("--csv", help="write the table to this file too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.cpu_time:
        timing.clock = time.process_time
    clock = "CPU time" if arguments.cpu_time else "time"
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, float32, {arguments.threads} thread(s), "
        f"{clock}: median of {arguments.repeats} alternating runs, {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}\n"
    )
    print(f"{'what':44} {'lmlab':24} {'beside':28} {'ratio':>6}  goal")
    found: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        for row in BENCHMARKS[name](repeats=arguments.repeats):
            print(f"{row.what:44} {row.lmlab:24} {row.other:28} {row.ratio:6.2f}  {row.goal}", flush=True)
            found.append(row)
    if arguments.csv:
        with open(arguments.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows(astuple(row) for row in found)


if __name__ == "__main__":
    main()
