"""Four hundred damaged files: each reader answers with a sentence or with right data, and
takes little for it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 100 * 2**20  # bytes that reading a small damaged file may take


def test_damaged_files_get_a_sentence_or_give_right_data():
    """In a process of its own, whose memory is looked at after every file."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "mutated.py"), "400", "0"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert found["count"] >= 400 and found["sentences"] > found["count"] / 2
    assert found["worst"]["bytes"]["bytes"] < MOST, found["worst"]["bytes"]
