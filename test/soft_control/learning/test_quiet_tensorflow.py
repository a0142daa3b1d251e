"""What TensorFlow says of itself is held back; what anyone else says is not."""

from __future__ import annotations

import os

import pytest

from soft_control.learning.quiet_tensorflow import without_chatter

SAID = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795999213.274794   30036 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795999213.274794   30036 library.cc:1] Illegal instruction
INFO: of another
"""


@pytest.mark.parametrize("fails", [False, True])
def test_only_chatter_is_lost(capfd, fails):
    with pytest.raises(ImportError) if fails else without_chatter():
        with without_chatter():
            os.write(2, SAID)
            if fails:
                raise ImportError("no tensorflow")
    assert capfd.readouterr().err.splitlines() == SAID.decode().splitlines()[2:]
