"""TensorFlow and Keras without what they say of themselves while they are imported."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

CHATTER = re.compile(rb"(WARNING: All log messages before absl::|I\d{4} )")
"""Lines of its C++ part that no setting holds back (TensorFlow 2.21, TF_CPP_MIN_LOG_LEVEL 3):
information, such as that there is no CUDA, and that this is said on stderr."""


def tensorflow():
    """The modules tensorflow and keras; imported as late as possible because it takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # another order of sums on another machine
    with contextlib.nullcontext() if "tensorflow" in sys.modules else without_chatter():
        import keras
        import tensorflow as tf

    return tf, keras


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """What is written to the process's stderr meanwhile comes at the end, but for CHATTER."""
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # closed by the shell: 2>&-
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not CHATTER.match(line)))
