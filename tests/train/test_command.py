"""python -m lmlab.train, in processes of its own: alone, under torchrun, killed, and where it cannot write."""

import os
import signal
import subprocess
import sys
import time

import pytest

import lmlab
from lmlab.train.pretraining import read_records


def losses(records):
    return [record.loss for record in records]


OPTIONS = "--tokens 1536 --batch-size 4 --length 64 --save-every 2 --evaluate-every 100".split()  # 6 steps


def command(out, *more, processes=1):
    alone = [sys.executable, "-m", "lmlab.train"]
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = alone if processes == 1 else [*several, "-m", "lmlab.train"]
    return [*start, "mini-deepseek-v3", "--out", str(out), *OPTIONS, *more]


def run(*arguments, **options):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run(command(*arguments, **options), env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder)
    return folder


ADAMW = ("--muon-learning-rate", "0")  # Muon works in bfloat16: equal to three digits only


@pytest.fixture(scope="module")
def with_adamw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adamw")
    run(folder, *ADAMW)
    return folder


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run(command(tmp_path / "file" / "run"), capture_output=True, text=True, timeout=300)
    (said,) = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "file/run cannot be written" in said and "--out" in said


def test_the_command_keeps_records_and_a_checkpoint(alone):
    records = read_records(alone / "records.jsonl")
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    model = lmlab.load(alone / "checkpoint")
    assert model.config.vocab_size == 1024 and (alone / "checkpoint" / "tokenizer.json").exists()


@pytest.mark.parametrize("more", [(), ("--shard",)], ids=["DDP", "FSDP2"])
def test_two_processes_have_the_losses_of_one(with_adamw, tmp_path, more):
    run(tmp_path, *ADAMW, *more, processes=2)
    one, two = (read_records(folder / "records.jsonl") for folder in (with_adamw, tmp_path))
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert [record.load for record in two] == pytest.approx([record.load for record in one], rel=0.02)


def test_two_processes_with_muon_come_close_to_one(alone, tmp_path):
    """Muon rounds to bfloat16; a gradient that were not shared would lead elsewhere at once."""
    run(tmp_path, processes=2)
    one, two = (read_records(folder / "records.jsonl") for folder in (alone, tmp_path))
    assert losses(two) == pytest.approx(losses(one), rel=5e-3)


def test_killed_at_some_step_it_goes_on_to_the_same_losses(alone, tmp_path):
    process = subprocess.Popen(command(tmp_path), env=dict(os.environ, OMP_NUM_THREADS="1"), stderr=subprocess.DEVNULL)
    path, deadline = tmp_path / "records.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and not (path.exists() and path.read_text().count("\n") >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(tmp_path)
    assert losses(read_records(path)) == losses(read_records(alone / "records.jsonl"))
