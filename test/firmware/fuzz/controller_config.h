/* Sizes of the fuzzed solver; -D chooses others. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#ifndef COMMANDS
#define COMMANDS 2
#endif
#ifndef OUTPUTS
#define OUTPUTS 3
#endif
#ifndef SIGNALS
#define SIGNALS 4
#endif
#ifndef INPUT_LAGS
#define INPUT_LAGS 3
#endif
#ifndef OUTPUT_LAGS
#define OUTPUT_LAGS 3
#endif
#ifndef INPUT_DELAY
#define INPUT_DELAY 2
#endif
#ifndef HORIZON
#define HORIZON 8
#endif
#ifndef CONTROL_HORIZON
#define CONTROL_HORIZON 3
#endif
#ifndef FIRST_COST_STAGE
#define FIRST_COST_STAGE (INPUT_DELAY + 1)
#endif
#ifndef TAIL_CONTINUES
#define TAIL_CONTINUES 1
#endif
#ifndef STATES
#define STATES 0
#endif
#ifndef FOLD
#define FOLD 1
#endif
#define MPC_ITERATIONS 3
#define LINE_SEARCH_TRIALS 4
#define BARRIER 0.01f

#endif
