"""A command that is killed or told to stop leaves no process behind, and the next one no file."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kill_points import _list_session, find_leftovers, find_orphans
from PIL import Image


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that take a while to decode."""
    folder = tmp_path_factory.mktemp("catalog")
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.jpg")
    for number in range(3000):
        path = folder / f"kind {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(folder / "noise.jpg")
    (folder / "noise.jpg").unlink()
    return folder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_workers_end_with_their_parent(number: signal.Signals, catalog: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hangtag", "prepare", str(catalog), "--workspace", str(tmp_path / "w")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    end = time.monotonic() + 60
    # The command, what starts its workers, and two of these at work.
    while len(_list_session(process.pid)) < 4 or not any(
        path.stat().st_size for path in (tmp_path / "w").rglob("*.part.npy")
    ):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(number)
    # Its output ends too: nobody keeps it open.
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert find_orphans(process.pid) == []
    assert b"Traceback" not in said
    assert (b"Stopped." in said) == (number != signal.SIGKILL)
    done = subprocess.run([*command[:4], str(catalog / "nothing"), *command[5:]], capture_output=True, check=False)
    assert done.returncode == 2
    assert not find_leftovers(tmp_path / "w") or number == signal.SIGKILL
