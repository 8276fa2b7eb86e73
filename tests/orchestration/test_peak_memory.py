"""The peak of a child is its own, whatever its parent held when it started it."""

import subprocess
import sys

from orchestration.peak_memory import peak_of_children

HOLDS = "held = bytearray({mib} << 20); import time; time.sleep(0.5)"


def test_the_peak_of_a_child_is_what_it_held_and_not_what_its_parent_held():
    parents = bytearray(300 << 20)
    with peak_of_children() as peak:
        subprocess.run([sys.executable, "-c", HOLDS.format(mib=100)], check=True)
    assert len(parents) >> 20 == 300
    assert 100 <= peak[0] < 200
