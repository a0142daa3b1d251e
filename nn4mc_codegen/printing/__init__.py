"""From a program's instructions to C: scheduled, given memory, and printed through templates.

A layer h = tanh(W·x + b) of 10 units on 4 inputs, whose result is the network's y, and the Jacobian
of y by x take this way. Each line is a module:

    ../graph/lower   h1 = Linear(W, x, b); h = Map(tanh, h1)
    derivatives      which functions there are; for the Jacobian more instructions in the program:
                     d = Map(1 - h·h); J = Map(d·W)
    prune            of all these, only what one function's results need
    gates            which relu switches off operands of which Linear (none here)
    fusion           kernels: Linear | tanh, which all layers share | d | J
    memory           h1 and after it d in the same 10 floats, h where the caller has y
    schedule         the parts above in their order; makes a Procedure: kernels, arrays, offsets
    access           element numbers as array, start and steps, for all that prints an index
    source           the C file as it grows: asked for a C name, it notes what must be defined
    kernels          a kernel with C names for its operands, as templates see it; its formulas
    registers        how much of a kernel the registers hold, with what was measured
    linear_blocks    rows × outputs of a Linear whose sums stand in registers: for the step alone
                     1 × 10, with weights stored input by input
    linear_loops     loops over the inputs of a block, and which weights are read by one instruction
    linear_operands  a Linear's operands as variables in registers
    linear_dots      the other way round, operands in registers and outputs one after the other:
                     with the Jacobian, for whose sake weights are stored unit by unit
    linear_kernel    puts these together, and lists what a gate has left switched on
    linear_shared    with --optimize size: calls of one function for all layers
    repeat           kernels that do the same for one group of rows after the other
    procedures       a function's body: its arrays, and a call of each kernel
    emit             all functions of a network, rendered to a header and a source
    emitted          what emit and int8/emit are told and give alike
    layout           the files as a CMake or Arduino library, or as one header
    c                literals, comments, index expressions; the one set-up of Jinja
"""
