"""``python -m tests.workloads.in_interpreter MODULE`` runs it with an interpreter that patches Triton's language once.

Triton's interpreter looks through the whole language at every call of one kernel function by another, which is two
thirds of the time of a kernel made of small functions. The first call of a launch has patched all of it. A quarter of
what is left goes to watching sums of indices for overflow, which shapes as small as these cannot reach.
"""

import runpy
import sys
from types import FunctionType

import triton.language as tl
from triton.runtime import interpreter

_patch_lang = interpreter._patch_lang


def _patch_once(function: FunctionType) -> object:
    languages = [value for value in function.__globals__.values() if value is tl or value is tl.core]
    if languages and not any(tl.core.is_builtin(language.load) for language in languages):
        return interpreter._LangPatchScope()
    return _patch_lang(function)


if __name__ == "__main__":
    if hasattr(interpreter, "_LangPatchScope"):  # Triton 3.6 and later
        interpreter._patch_lang = _patch_once
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    runpy.run_module(sys.argv[1], run_name="__main__")
