"""One load that ``pamprof serve-check`` predicted and then served in real time, request by request."""

from __future__ import annotations

from dataclasses import dataclass

from pamprof.records.environment import Environment
from pamprof.records.run import Unknown
from pamprof.records.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledSteps:
    """What steps of the server took before it served, in the mean.

    Attributes:
        batches: Sequences of a decode step, rising.
        contexts: Tokens that each of them held, rising; one where a state is fixed.
        decode_seconds: A row for each context, a time for each batch.
        padded: Whether a batch between two of them runs as the larger one, as in a CUDA graph.
        pieces: Tokens of a prompt read in one piece, rising.
        read_seconds: Of each as the beginning of a prompt.
        continued_seconds: Of each as a further piece.
        host_seconds: What the loop itself takes for each decode step and each piece.
        sample_count: Steps that were timed.
    """

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    decode_seconds: tuple[tuple[float, ...], ...]
    padded: bool
    pieces: tuple[int, ...]
    read_seconds: tuple[float, ...]
    continued_seconds: tuple[float, ...]
    host_seconds: float
    sample_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLoad:
    """What was predicted, and the file that shows when.

    Attributes:
        file: Name of the file beside the records.
        sha256: Of its bytes.
        written_at: UTC, ISO 8601; the file was on the disk then, and the server had not begun.
        source: Where the step times came from.
        first_seconds: When each request's first token would be there; None where it would be refused.
        finish_seconds: When its last one would be.
    """

    file: str
    sha256: str
    written_at: str
    source: str
    first_seconds: tuple[float | None, ...]
    finish_seconds: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPolicy:
    """How the server was run, and the simulation with it.

    Attributes:
        largest_batch: Sequences at once.
        chunk_tokens: Prompt tokens of a step at most.
        memory_policy: What keeps caches within the memory, ``recompute`` or ``reserve``.
        room_bytes, bytes_per_sequence, bytes_per_token: What sequences may take together, and what each takes.
    """

    largest_batch: int
    chunk_tokens: int
    memory_policy: str
    room_bytes: float
    bytes_per_sequence: float
    bytes_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCheck:
    """One arm at one load. All times of requests are seconds since the server began.

    Attributes:
        session_id: Of the command; its loads share it.
        started_at: When the server began, UTC, ISO 8601.
        command: What was called.
        environment: Where.
        unknowns: Why fields of ``environment`` are None.
        title: The arm.
        workload: Its decode step of the largest batch, and the longest request as its length.
        load: As it was asked for, such as ``80%``.
        arrivals: How requests came, such as ``poisson``.
        seed: Of the requests.
        requests_per_second: Their mean rate.
        highest_requests_per_second: The highest rate that holds the limits, as predicted; None where none does.
        limit_seconds_to_first_token, limit_seconds_per_output_token, percentile: The limits.
        policy: How the server was run.
        steps: What its steps took before; None where times of another record were taken.
        prediction: What was predicted, before.
        measured_from: The first request that counts; those before it fill the server.
        arrival_seconds, input_tokens, output_tokens: Of each request.
        first_seconds, finish_seconds: As served; None where it was refused or not served before an interruption.
        token_count: Tokens that the device gave out.
        step_count, piece_count, decode_step_count: Of the server.
        busy_seconds, device_seconds: Time in which there was work, and the part of it in which steps ran.
        expected_seconds: What the same steps take by the step times of the prediction; None in older records.
        preemption_count: Sequences that lost their caches.
        interrupted: Whether it was stopped before all were served.
        notes: What a reader must know.
    """

    session_id: str
    started_at: str
    command: str
    environment: Environment
    unknowns: tuple[Unknown, ...]
    title: str
    workload: Workload
    load: str
    arrivals: str
    seed: int
    requests_per_second: float
    highest_requests_per_second: float | None
    limit_seconds_to_first_token: float
    limit_seconds_per_output_token: float
    percentile: float
    policy: ServerPolicy
    steps: SampledSteps | None
    prediction: PredictedLoad
    measured_from: int
    arrival_seconds: tuple[float, ...]
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    first_seconds: tuple[float | None, ...]
    finish_seconds: tuple[float | None, ...]
    token_count: int
    step_count: int
    piece_count: int
    decode_step_count: int
    busy_seconds: float
    device_seconds: float
    preemption_count: int
    interrupted: bool
    notes: tuple[str, ...] = ()
    expected_seconds: float | None = None
