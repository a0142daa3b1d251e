#include "fk.h"

#include <math.h>
#include <stddef.h>

weights_t weights;
#if STATES > 0
#define OWN state->value
#define GIVE state,
#else
#define OWN NULL
#define GIVE
#endif
static void hide(const float *own, const float *folded, const float *x, float z[HIDDEN])
{
    for (int k = 0; k < HIDDEN; ++k) {
        z[k] = folded == NULL ? weights.a[k] : folded[k];
        for (int i = 0; i < (folded == NULL ? FK_INPUTS : LAG_INPUTS); ++i)
            z[k] += weights.a_matrix[k][i] * x[i];
        for (int s = 0; s < STATES; ++s) z[k] += weights.a_matrix[k][FK_INPUTS + s] * own[s];
        z[k] = tanhf(z[k]);
    }
}
static float by(int k, int column)
{
    return weights.a_matrix[k][column < LAG_INPUTS ? column : column + SIGNALS];
}
static float slope_of(const float z[HIDDEN], int r, int column)
{
    float slope = 0.0f;
    if (OUTPUT_LAGS > 0 && r < OUTPUTS && column == INPUT_LAGS * COMMANDS + r) slope = 1.0f;
    for (int k = 0; k < HIDDEN; ++k)
        slope += weights.b_matrix[r][k] * (1.0f - z[k] * z[k]) * by(k, column);
    return slope;
}
static void hand_on(float *own, const float *folded, const float *x, float *y, float *jacobian,
                    int first, int past)
{
    float z[HIDDEN];
    hide(own, folded, x, z);
    for (int r = 0; r < HANDED; ++r) {
        float sum = weights.b[r];
        if (OUTPUT_LAGS > 0 && r < OUTPUTS) sum += x[INPUT_LAGS * COMMANDS + r];
        for (int k = 0; k < HIDDEN; ++k) sum += weights.b_matrix[r][k] * z[k];
        if (r < OUTPUTS) y[r] = sum;
        else own[r - OUTPUTS] = sum;
        for (int i = 0; i < FK_JACOBIAN_COLUMNS && jacobian != NULL; ++i) {
            float slope = NAN;
            if (i >= first && i < past) {
                slope = slope_of(z, r, i < COLUMNS ? i : i - COLUMNS);
                for (int l = 1; l < INPUT_LAGS && i >= COLUMNS; ++l)
                    slope += slope_of(z, r, i - COLUMNS + l * COMMANDS);
            }
            jacobian[r * FK_JACOBIAN_COLUMNS + i] = slope;
        }
    }
}
void fk_step(FK_STATE const float *x, float *y) { hand_on(OWN, NULL, x, y, NULL, 0, 0); }
#if FOLD
#define SPAN first, past
#else
#define SPAN 0, COLUMNS
#endif
void fk_jacobian(FK_STATE const float *x, float *y, float *jacobian COLUMN_RANGE)
{
    hand_on(OWN, NULL, x, y, jacobian, SPAN);
}
void fk_hvp(FK_SAME_STATE const float *x, const float *v, const float *t, float *h)
{
    float z[HIDDEN];
    hide(OWN, NULL, x, z);
    for (int i = 0; i < COLUMNS; ++i) h[i] = 0.0f;
    for (int k = 0; k < HIDDEN; ++k) {
        float push = 0.0f, along = 0.0f;
        for (int r = 0; r < HANDED; ++r) push += weights.b_matrix[r][k] * v[r];
        for (int i = 0; i < COLUMNS; ++i) along += by(k, i) * t[i];
        const float bend = push * -2.0f * z[k] * (1.0f - z[k] * z[k]) * along;
        for (int i = 0; i < COLUMNS; ++i) h[i] += bend * by(k, i);
    }
}
#if PUSH
static float pushed(const float z[HIDDEN], int r, int d, const float *dx, const float *dstate, int carried)
{
    float sum = 0.0f;
    for (int i = 0; i < LAG_INPUTS; ++i) sum += slope_of(z, r, i) * dx[i * FK_PUSH_STRIDE + d];
    for (int s = 0; s < STATES && d < carried; ++s)
        sum += slope_of(z, r, LAG_INPUTS + s) * dstate[s * FK_PUSH_STRIDE + d];
    return sum;
}
static void push_all(const float z[HIDDEN], const float *dx, const float *dstate, float *dy, float *dnext,
                     int directions, int carried)
{
    for (int r = 0; r < HANDED; ++r)
        for (int d = 0; d < (directions + 3) / 4 * 4; ++d)
            *(r < OUTPUTS ? &dy[r * FK_PUSH_STRIDE + d] : &dnext[(r - OUTPUTS) * FK_PUSH_STRIDE + d]) =
                d < directions ? pushed(z, r, d, dx, dstate, carried) : 0.0f;
}
#if STATES > 0
void fk_push(FK_STATE const float *x, float *y, const float *dx, const float *dstate, float *dy, float *dnext,
             int directions, int carried)
#else
void fk_push(const float *x, float *y, const float *dx, float *dy, int directions)
#endif
{
    float z[HIDDEN];
    hide(OWN, NULL, x, z);
#if STATES > 0
    push_all(z, dx, dstate, dy, dnext, directions, carried);
#else
    push_all(z, dx, NULL, dy, NULL, directions, 0);
#endif
    hand_on(OWN, NULL, x, y, NULL, 0, 0);
}
#endif
#if FOLD
void fk_fold(const float *x, float *folded)
{
    for (int k = 0; k < HIDDEN; ++k) {
        folded[k] = weights.a[k];
        for (int i = LAG_INPUTS; i < FK_INPUTS; ++i) folded[k] += weights.a_matrix[k][i] * x[i];
    }
}
void fk_step_folded(FK_STATE const float *folded, const float *x, float *y)
{
    hand_on(OWN, folded, x, y, NULL, 0, 0);
}
void fk_jacobian_folded(FK_STATE const float *folded, const float *x, float *y, float *jacobian COLUMN_RANGE)
{
    hand_on(OWN, folded, x, y, jacobian, SPAN);
}
#endif
