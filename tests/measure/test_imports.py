"""What a measuring process imports is never collected while it runs."""

import gc
import subprocess
import sys

from pamprof.measure.imports import never_collected

CYCLE = """
from pamprof.measure.imports import never_collected
class Library:
    def __del__(self):
        print("freed")
with never_collected():
    library = Library()
    library.itself = library
del library
import gc
gc.collect()
print("collected")
"""


def test_a_collection_scans_what_came_later_alone():
    with never_collected():
        imported = [[]]
        assert not gc.isenabled()
    later = [[]]
    scanned = {id(each) for each in gc.get_objects()}
    assert gc.isenabled()
    assert id(imported) not in scanned
    assert id(later) in scanned


def test_it_is_freed_as_the_process_ends():
    done = subprocess.run([sys.executable, "-c", CYCLE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["collected", "freed"]
