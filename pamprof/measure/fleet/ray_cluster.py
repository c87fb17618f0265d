"""Groups as tasks of a Ray cluster: one a GPU, or on CPUs one a node, each streaming its lines back.

Ray retries nothing here: a task that ends with its node is the head's to begin again, with what it had not sent.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pamprof.errors import DeviceError, UsageError
from pamprof.measure.fleet.engine import FleetCapacity, News, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECT_SECONDS = 5.0
_TYPE = "accelerator_type:"


class RayCluster:
    """A cluster that runs, or one of this machine alone.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``; None for ``RAY_ADDRESS``, else the cluster that runs on this
            machine, else a new one that ends with this process. A connection of this process is used as it is.

    Raises:
        UsageError: Ray is not installed, or the address is none.
        DeviceError: Nothing answers there, or another version of Ray or Python.
    """

    def __init__(self, address: str | None) -> None:
        try:
            import ray
        except ImportError as exc:
            raise UsageError("--on ray needs Ray, which is not installed; pip install 'pamprof[ray]'") from exc
        self._ray: Any = ray
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _connect(ray, address)
        self._task = ray.remote(max_retries=0, num_returns="streaming")(_task)
        self._running: dict[str, tuple[Any, str]] = {}
        self._begun = 0
        self._begun_on: Counter[str] = Counter()
        self._cuda = False

    def capacity(self, device: str) -> FleetCapacity:
        """See ``Engine``."""
        kind = device.partition(":")[0]
        nodes = self._nodes()
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        if kind == "cuda" and not gpus:
            raise DeviceError(
                f"device {device} was asked for, and none of the {len(nodes)} nodes of the Ray cluster has a GPU; "
                "start nodes with ray start --num-gpus, or use --device cpu"
            )
        self._cuda = kind != "cpu" and gpus > 0
        if not self._cuda:
            return FleetCapacity(name=f"Ray with {counted(len(nodes), 'node')}", device_kind="cpu", slots=len(nodes))
        types = (name.removeprefix(_TYPE) for node in nodes for name in node["Resources"] if name.startswith(_TYPE))
        return FleetCapacity(
            name=f"Ray with {counted(gpus, 'GPU')}",
            device_kind="cuda",
            slots=gpus,
            devices=tuple(dict.fromkeys(types)),
        )

    def free(self) -> int:
        """See ``Engine``."""
        if self._cuda:
            return sum(int(node["Resources"].get("GPU", 0)) for node in self._nodes()) - len(self._running)
        return len(self._idle_nodes())

    def begin(self, task: bytes, *, expected_seconds: float) -> str:
        """See ``Engine``."""
        del expected_seconds  # a task of Ray has no limit of time
        options: dict[str, Any]
        if self._cuda:
            node, options = "", {"num_gpus": 1, "num_cpus": 1, "scheduling_strategy": "SPREAD"}
        else:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            idle = self._idle_nodes()[0]
            node = idle["NodeID"]
            self._begun_on[node] += 1
            # The whole node: another group on its cores would be measured into this one.
            options = {
                "num_cpus": idle["Resources"]["CPU"],
                "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
            }
        self._begun += 1
        attempt = str(self._begun)
        self._running[attempt] = self._task.options(**options).remote(task), node
        return attempt

    def news(self, timeout_seconds: float) -> list[News]:
        """See ``Engine``."""
        if not self._running:
            time.sleep(timeout_seconds)
            return []
        streams = [stream for stream, _ in self._running.values()]
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        return [
            news for attempt, (stream, _) in list(self._running.items()) if ready for news in self._of(attempt, stream)
        ]

    def close(self) -> None:
        """See ``Engine``."""
        for stream, _ in self._running.values():
            self._ray.cancel(stream, force=True)
        self._running.clear()
        if self._is_own:
            self._ray.shutdown()

    def _of(self, attempt: str, stream: Any) -> Iterator[News]:
        """Everything that an attempt has sent."""
        from ray.exceptions import RayError

        while self._ray.wait([stream], timeout=0, fetch_local=False)[0]:
            try:
                line = self._ray.get(next(stream))
            except StopIteration:
                del self._running[attempt]
                yield News(attempt=attempt)
                return
            except RayError as exc:
                del self._running[attempt]
                yield News(attempt=attempt, fault=_first_sentence(exc))
                return
            yield News(attempt=attempt, line=line)

    def _nodes(self) -> list[dict[str, Any]]:
        """Nodes that live and take tasks."""
        return [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]

    def _idle_nodes(self) -> list[dict[str, Any]]:
        busy = {node for _, node in self._running.values()}
        idle = [node for node in self._nodes() if node["NodeID"] not in busy]
        return sorted(idle, key=lambda node: self._begun_on[node["NodeID"]])  # one that fails at once takes its turn


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster at ``address``; see ``RayCluster``."""
    if address is not None and address != "auto":
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal()) or "/" in address:
            raise UsageError(f"--on ray:{address} is no address; give that of the cluster's head, as ray:10.0.0.1:6379")
        # Ray itself tries for two minutes.
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as exc:
            raise DeviceError(
                f"no Ray cluster answers at {address} ({exc}); start one with ray start --head, or check the address"
            ) from exc
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as exc:
        raise DeviceError(
            f"the Ray cluster{f' at {address}' if address else ''} cannot be joined: {_first_sentence(exc)}; start one "
            "with ray start --head, with the Python and Ray of this machine"
        ) from exc
    finally:
        if is_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # which Ray takes for itself


def _task(line: bytes) -> Iterator[bytes]:
    """What runs on a node; pickled as it is, so that a node without this package can say so."""
    import json
    import platform

    try:
        from pamprof.measure.fleet.node import lines_of_task
    except ImportError as exc:
        text = f"{platform.node()} cannot import pamprof ({exc}); install the version of the head on every machine"
        yield json.dumps({"said": "refused", "text": text}, separators=(",", ":")).encode() + b"\n"
        return
    yield from lines_of_task(line)


def _first_sentence(exc: BaseException) -> str:
    """What an error of Ray is about, which goes on for a page."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    text = lines[0] if lines else type(exc).__name__
    return text.partition(". ")[0].rstrip(".")
