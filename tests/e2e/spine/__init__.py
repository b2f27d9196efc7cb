"""The whole way of the data in one test, and the books that must balance at its end.

    with_everything = Spine(world, influx=True)
    fleet = with_everything.simulate(10)
    ...                                  # hurt whatever you like
    with_everything.settle()             # stop collecting, drain
    with_everything.assert_nothing_is_lost()

The truth does not come from the way that the data takes: agents write what they commit into a tee
file (`--tee`), and where one was killed a reader of our own decodes what its buffer holds.
"""

from .books import Truth, assert_same
from .buffer import items_of_body, points_of_body, read_buffer, read_install, read_ledger
from .databases import as_victoria, file_points, influx_points, victoria_points
from .lines import points_of
from .spine import DB, FAST_AGENT, FAST_BRIDGE, Agents, Spine
from .states import StateLog

__all__ = ["Agents", "DB", "FAST_AGENT", "FAST_BRIDGE", "Spine", "StateLog", "Truth", "as_victoria", "assert_same",
           "file_points", "influx_points", "items_of_body",
           "points_of", "points_of_body", "read_buffer", "read_install", "read_ledger", "victoria_points"]
