"""One file a plot: each has ``draw(sheet, chart)``; ``picture`` finds it by the chart's kind."""

import os
import sys
from pathlib import Path

from pamprof.caches import base_folder, cache_folder


def _settle_matplotlib() -> None:
    """Name a folder for matplotlib before its import where those it would take cannot be written or are relative.

    It would make one for each process, say so at length, and read every font anew.
    """
    given = os.environ.get("MPLCONFIGDIR")
    for variable, under_home in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
        base = base_folder(variable, under_home)
        wanted = Path(given).absolute() if given else None if base is None else base / "matplotlib"
        folder = cache_folder(wanted, "matplotlib")
        ignored = not given and not Path(os.environ.get(variable) or "/").is_absolute()
        if folder is not None and (folder != wanted or ignored):
            os.environ["MPLCONFIGDIR"] = str(folder)
            return


if "matplotlib" not in sys.modules:
    _settle_matplotlib()
