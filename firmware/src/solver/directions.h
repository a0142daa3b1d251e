/* How a roll-out moves by the planned commands, by pushing directions through the network: one for
 * each command of each channel, stage after stage, with the network's state. The state's Jacobian,
 * S x S for S states, is never made. */
#ifndef DIRECTIONS_H
#define DIRECTIONS_H

#include "solver/sensitivities.h"

#if PUSHES

#if MPC_METHOD != MPC_GAUSS_NEWTON
#error "fk_push is for MPC_GAUSS_NEWTON: second derivatives need fk_jacobian and fk_hvp"
#endif

/* Matrices with a row for each element of the network and a column for each direction: u_0 first,
 * the channels of each command side by side. With two commands, at stage t = 1:
 *
 *     column            0      1      2      3
 *     direction        u_0,a  u_0,b  u_1,a  u_1,b     the state before moves along the first two
 */
typedef struct {
    float inputs[FK_INPUTS * FK_PUSH_STRIDE];
    float outputs[OUTPUTS * FK_PUSH_STRIDE]; /* of the stage that was pushed last */
#if NETWORK_STATES > 0
    float states[2][NETWORK_STATES * FK_PUSH_STRIDE]; /* stages take turns */
#endif
} directions_t;

void directions_begin(directions_t *directions);

/* Predicts y of stage t, whose lags the network has been given, and pushes the directions of u_0
 * .. u_t, at most those of the planned commands. */
void directions_push(directions_t *directions, network_t *network, const plan_t *plan, int t,
                     float y[OUTPUTS]);

#endif
#endif
