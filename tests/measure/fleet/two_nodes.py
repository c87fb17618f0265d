"""Compares on a Ray cluster of two nodes of this machine, and kills one of them once the first number is there.

Prints what the comparison said, and ends with its status.
"""

import subprocess
import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster


def main(folder, *options):
    records = Path(folder) / "runs.jsonl"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        command = [sys.executable, "-m", "pamprof", "compare", "--on", f"ray:{cluster.address}", "-o", folder, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as comparison:
            while comparison.poll() is None and not (records.exists() and b'"type":"run"' in records.read_bytes()):
                time.sleep(0.05)
            cluster.remove_node(nodes[1], allow_graceful=False)
            said, _ = comparison.communicate()
        sys.stdout.write(said)
        return comparison.returncode
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
