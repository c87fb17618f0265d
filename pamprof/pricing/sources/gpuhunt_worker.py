"""Runs gpuhunt in a process of its own and writes what it returned; imports nothing but it and the standard library.

gpuhunt opens URLs without a timeout on threads that outlive an exception, so only the end of a process surely ends it.
Run as a script: ``python -P gpuhunt_worker.py OUTPUT PROVIDER...``; exit status 3 says that gpuhunt is not installed.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

NOT_INSTALLED = 3


def collect(providers: list[str]) -> dict[str, object]:
    """GPU rows of ``providers`` and the version of each provider's list, as plain JSON values.

    Raises:
        gpuhunt.GPUHuntError: No list could be loaded.
    """
    import gpuhunt

    # A catalogue that reloads goes to the network even where a local folder is named.
    catalogue = gpuhunt.Catalog(balance_resources=False, auto_reload=False)
    folder = os.environ.get("GPUHUNT_CATALOG_DIR")
    if folder is None:
        catalogue.load()
        loaded, changed = [name for name in providers if name in catalogue.catalog], {}
        versions = {name: catalogue.catalog[name].version for name in loaded}
    else:
        loaded = [name for name in providers if (Path(folder) / f"{name}.csv").is_file()]
        versions = {}
        # A local list carries no day; it cannot be newer than its file's last change.
        changed = {
            name: datetime.fromtimestamp((Path(folder) / f"{name}.csv").stat().st_mtime, UTC).date().isoformat()
            for name in loaded
        }
    # An empty list of providers means every provider to gpuhunt.
    items = catalogue.query(provider=loaded, min_gpu_count=1) if loaded else []
    rows = [
        {
            "provider": item.provider,
            "instance": item.instance_name,
            "region": item.location,
            "usd_per_hour": str(item.price),
            "device_count": item.gpu_count,
            "device": item.gpu_name or "",
            "device_memory_gib": item.gpu_memory,
            "spot": item.spot,
        }
        for item in items
    ]
    return {"rows": rows, "versions": versions, "changed": changed, "loaded": loaded}


def main(arguments: list[str]) -> int:
    """Write the JSON to the first argument for the providers named by the others; the exit status."""
    try:
        import gpuhunt  # noqa: F401
    except ModuleNotFoundError as exc:
        if exc.name != "gpuhunt":
            raise
        return NOT_INSTALLED
    Path(arguments[0]).write_text(json.dumps(collect(arguments[1:])), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
