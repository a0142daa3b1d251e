"""One network through one peer: C that run.py can measure, as peer_step(const float *, float *).

Runs in build/bench: python peers.py TOOL MODE MODEL.h5 FOLDER. Writes peer.h, peer.c and whatever
the tool makes into FOLDER, and prints {"sources": …, "include": …} as the last line.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

HEADER = """#define PEER_INPUTS {inputs}
#define PEER_OUTPUTS {outputs}
#ifdef __cplusplus
extern "C"
#endif
void peer_step(const float x[PEER_INPUTS], float y[PEER_OUTPUTS]);
"""

EMLEARN = {
    "loadable": """#include "peer.h"
#include "net.h"
void peer_step(const float *x, float *y)
{
    (void)net_regress(x, PEER_INPUTS, y, PEER_OUTPUTS);
}
""",
    "inline": """#include "peer.h"
#include "net.h"
void peer_step(const float *x, float *y)
{
    (void)net_infer(x, PEER_INPUTS, net_activations1, net_activations2, net_activations_length);
    for (int i = 0; i < PEER_OUTPUTS; i++) {
        y[i] = net_activations2[i];
    }
}
""",
}

NN4MC = """#include "peer.h"
#include "nn4mc.h"
#include <stdlib.h>
void peer_step(const float *x, float *y)
{
    static int built;
    if (!built) {
        buildLayers();
        built = 1;
    }
    float *data = (float *)malloc(PEER_INPUTS * sizeof(float)); /* the network frees it */
    for (int i = 0; i < PEER_INPUTS; i++) {
        data[i] = x[i];
    }
    data = fwdNN(data);
    for (int i = 0; i < PEER_OUTPUTS; i++) {
        y[i] = data[i];
    }
    free(data);
}
"""

KERAS2C = """#include "peer.h"
#include "net.h"
void peer_step(const float *x, float *y)
{
    k2c_tensor input = {(float *)x, 1, PEER_INPUTS, {PEER_INPUTS, 1, 1, 1, 1}};
    k2c_tensor output = {y, 1, PEER_OUTPUTS, {PEER_OUTPUTS, 1, 1, 1, 1}};
    net(&input, &output);
}
"""


def load(model: Path):
    import tf_keras

    return tf_keras.models.load_model(model, compile=False)


def emlearn(mode: str, model: Path, folder: Path) -> dict:
    import emlearn
    import tf_keras

    # It does not know Flatten, which does nothing to a flat input: that one it may leave out.
    layers = [x for x in load(model).layers if not isinstance(x, tf_keras.layers.Flatten)]
    network = tf_keras.Sequential(layers)
    converted = emlearn.convert(network, method="loadable", return_type="regressor")
    converted.save(file=str(folder / "net.h"), name="net", inference=[mode])
    (folder / "peer.c").write_text(EMLEARN[mode])
    return {"sources": ["peer.c"], "include": [emlearn.includedir]}


def nn4mc(mode: str, model: Path, folder: Path) -> dict:
    from nn4mc.translator import translate

    translate(str(model), "hdf5", f"{folder}/")
    (folder / "peer.cpp").write_text(NN4MC)
    made = folder / "nn4mc"
    sources = [str(f.relative_to(folder)) for f in sorted(made.rglob("*.cpp"))]
    include = [str(made / "include"), str(made / "include" / "layers")]
    return {"sources": [*sources, "peer.cpp"], "include": include}


def keras2c(mode: str, model: Path, folder: Path) -> dict:
    import os

    import keras2c as tool

    network = load(model)
    os.chdir(folder)
    tool.k2c(network, "net", num_tests=1)
    (folder / "peer.c").write_text(KERAS2C)
    return {"sources": ["net.c", "peer.c"], "include": []}


def main(tool: str, mode: str, model: str, folder: str) -> None:
    out = Path(folder).resolve()
    network = load(Path(model).resolve())
    # Of a sequence one time step, the axis without an extent left out.
    inputs = math.prod(extent for extent in network.input_shape[1:] if extent)
    sizes = {"inputs": inputs, "outputs": network.output_shape[-1]}
    (out / "peer.h").write_text(HEADER.format(**sizes))
    made = {"emlearn": emlearn, "nn4mc": nn4mc, "keras2c": keras2c}[tool]
    print(json.dumps(made(mode, Path(model).resolve(), out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
