/* Projected Newton: what stands on a bound and is pushed against it is held there, and the others
 * take Newton's step (Bertsekas, "Projected Newton methods for optimization problems with simple
 * constraints", 1982). Where that meets further bounds, cutting it off there would not do: the
 * others have to answer. They do so twice,
 * - in the back substitution, from the last command to the first: each one is where the model is
 *   lowest given those after it, which are within their bounds already;
 * - in one sweep of coordinate descent over the whole model, which also lets go what was held in
 *   vain.
 * One factorisation so comes close to the bounded minimum, and holds the right bounds the next time.
 * Only a sweep from the plan itself that finds nothing to gain says that there is nothing. */
#include "step.h"

#define MOVES (VARIABLES - COMMANDS) /* from a planned command to the next one */

typedef struct {
    float low;
    float high;
} range_t;

/* Ways of the step z: z_v within range, and z_v+COMMANDS - z_v + move within move_max of 0. The
 * first also hold what u_-1 can reach in as many moves: from the last command to the first, each
 * one then finds room next to the one after it. */
typedef struct {
    range_t range[VARIABLES];
    float move[VARIABLES];     /* u_v+COMMANDS - u_v */
    float move_max[VARIABLES]; /* the same for all of a channel */
} ways_t;

static inline range_t both(range_t a, range_t b)
{
    return (range_t){larger(a.low, b.low), smaller(a.high, b.high)};
}

static inline bool on_move_limit(float move, float move_max)
{
    return move >= move_max - BOUND_TOLERANCE || move <= BOUND_TOLERANCE - move_max;
}

/* True if any command stands on a bound or a move limit. */
static bool list_ways(const mpc_config_t *config, plan_t *plan, ways_t *ways)
{
    bool any = false;
    for (int c = 0; c < COMMANDS; ++c) {
        const float move_max = config->move_max[c];
        const float *command = &command_of(plan, 0)[c];
        float lowest = command[COMMANDS];
        float highest = lowest;
        UNROLL for (int i = 0; i < CONTROL_HORIZON; ++i, command -= COMMANDS) {
            const int v = i * COMMANDS + c;
            const float u = *command;
            lowest = larger(lowest - move_max, config->command_min[c]);
            highest = smaller(highest + move_max, config->command_max[c]);
            ways->move_max[v] = move_max;
            ways->range[v] = (range_t){lowest - u, highest - u};
            if (lowest - u >= -BOUND_TOLERANCE || highest - u <= BOUND_TOLERANCE) {
                any = true;
            }
            if (i < CONTROL_HORIZON - 1) {
                const float move = command[-COMMANDS] - u;
                ways->move[v] = move;
                if (on_move_limit(move, move_max)) {
                    any = true;
                }
            }
        }
    }
    return any;
}

/* Pushed against an end of its way that is as near as counts? */
static inline bool stopped(float push, range_t range)
{
    return push > 0.0f ? range.high <= BOUND_TOLERANCE
                       : push < 0.0f && range.low >= -BOUND_TOLERANCE;
}

/* From the last command of each channel to the first: what stands on its move limit and is
 * pushed against it is tied to the command before it; what stands on a bound and is pushed
 * against that is held, with all that is tied to it. `moves_to[v]` is the last command that
 * moves with v, or -1 if v does not move by itself; then push[v] and moves[v] are 0, else
 * moves[v] is 1. True if any are tied that are not held. */
static bool hold_bounds(const ways_t *ways, float push[LINSOLVE_STRIDE], int8_t moves_to[VARIABLES],
                        float moves[LINSOLVE_STRIDE])
{
    bool tied = false;
    for (int c = 0; c < COMMANDS; ++c) {
        const float move_max = ways->move_max[c];
        float sum = 0.0f;
        bool held = false;
        int end = MOVES + c;
        for (int v = end; v >= 0; v -= COMMANDS) {
            sum += push[v];
            push[v] = 0.0f;
            held = held || stopped(sum, ways->range[v]);
            moves_to[v] = -1;
            moves[v] = 0.0f;
            if (v >= COMMANDS) {
                const float move = ways->move[v - COMMANDS];
                if (stopped(sum, (range_t){-move_max - move, move_max - move})) {
                    continue;
                }
            }
            if (!held) {
                push[v] = sum;
                moves_to[v] = (int8_t)end;
                moves[v] = 1.0f;
                tied = tied || end > v;
            }
            end = v - COMMANDS;
            sum = 0.0f;
            held = false;
        }
    }
    return tied;
}

/* The ranges again, where some do not move or move with others. */
static void narrow(const ways_t *ways, const int8_t moves_to[VARIABLES], range_t range[VARIABLES])
{
    for (int c = 0; c < COMMANDS; ++c) {
        int end = -1;
        for (int v = c; v < VARIABLES; v += COMMANDS) {
            const int before = v - COMMANDS;
            range[v] = ways->range[v];
            if (moves_to[v] < 0 && v > end) {
                range[v] = (range_t){0.0f, 0.0f};
            } else if (moves_to[v] < 0) {
                range[v] = both(range[v], range[before]);
            } else if (before >= 0) {
                const range_t near = {range[before].low - ways->move_max[v] - ways->move[before],
                                      range[before].high + ways->move_max[v] - ways->move[before]};
                range[v] = both(range[v], near);
            }
            end = moves_to[v] < 0 ? end : moves_to[v];
        }
    }
}

/* Element of the lower half. */
static inline float *element(float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE], int a, int b)
{
    return a > b ? &matrix[a][b] : &matrix[b][a];
}

/* Commands that are tied together move as the first of them: their rows and columns add up in
 * its own. */
static void merge_rows(const int8_t moves_to[VARIABLES], const quadratic_t *model,
                       float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE])
{
    for (int a = 0; a < LINSOLVE_STRIDE; ++a) {
        for (int b = 0; b <= a; ++b) {
            matrix[a][b] = model->hessian[a][b];
        }
    }
    for (int v = 0; v < VARIABLES; ++v) {
        for (int w = v + COMMANDS; w <= moves_to[v]; w += COMMANDS) {
            matrix[v][v] += matrix[w][w] + 2.0f * matrix[w][v];
            for (int a = 0; a < VARIABLES; ++a) {
                if (a != v && a != w) {
                    *element(matrix, a, v) += *element(matrix, a, w);
                }
            }
        }
    }
}

/* What z_v may be next to the command after it, where there is one. */
static inline range_t beside(range_t range, const ways_t *ways, const float *z, int v)
{
    if (MOVES == 0 || v >= MOVES) {
        return range;
    }
    const float next = z[v + COMMANDS] + ways->move[v];
    return both(range, (range_t){next - ways->move_max[v], next + ways->move_max[v]});
}

/* L' z = y within the ways, tile after tile: what is found leaves the rows above. True if an end
 * of a way was met. */
static bool substitute_back(const ways_t *ways, const range_t *ranges,
                            float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                            const int8_t moves_to[VARIABLES], float y[LINSOLVE_STRIDE],
                            float z[LINSOLVE_STRIDE])
{
    bool met = false;
    for (int i = LINSOLVE_STRIDE - LINSOLVE_TILE; i >= 0; i -= LINSOLVE_TILE) {
        float found[LINSOLVE_TILE] = {0.0f};
        const int past = i + LINSOLVE_TILE < VARIABLES ? i + LINSOLVE_TILE : VARIABLES;
        for (int v = past - 1; v >= i; --v) {
            const float *row = factor[v];
            const int end = moves_to[v];
            if (end < v) {
                continue; /* y_v is 0, and so is its row */
            }
            const range_t range = beside(ranges[end], ways, z, end);
            const float wanted = y[v] * row[v];
            const float step = clamp(wanted, range.low, range.high);
            met = met || wanted > step || wanted < step;
            for (int w = v; w <= end; w += COMMANDS) {
                z[w] = step;
            }
            found[v - i] = step;
            for (int k = i; k < v; ++k) {
                y[k] = mac(-row[k], step, y[k]);
            }
        }
        const float *rows = factor[i];
        for (float *above = y; above != y + i; ++above, ++rows) {
            float left = *above;
            UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
                left = mac(-rows[r * LINSOLVE_STRIDE], found[r], left);
            }
            *above = left;
        }
    }
    return met;
}

/* How far v can go next to the command before it and the one after it, from where they are. */
static inline range_t room_of(const ways_t *ways, const float *z, int v, int end)
{
    range_t room = beside(ways->range[end], ways, z, end);
    room = (range_t){room.low - z[end], room.high - z[end]};
    if (v >= COMMANDS) {
        const float move = ways->move[v - COMMANDS] + z[v] - z[v - COMMANDS];
        room = both(room, (range_t){-ways->move_max[v] - move, ways->move_max[v] - move});
    }
    return room;
}

/* To where the model is lowest, but not out of the room. */
static inline float descend(float push, float curvature, range_t room)
{
    return curvature > 0.0f
               ? clamp(push / curvature, smaller(room.low, 0.0f), larger(room.high, 0.0f))
               : 0.0f;
}

static inline bool is_tied(const ways_t *ways, const float *z, int v)
{
    return MOVES > 0 && v < MOVES
           && on_move_limit(ways->move[v] + z[v + COMMANDS] - z[v], ways->move_max[v]);
}

/* v with one, two .. of the commands after it, as far as they stand on the move limits between
 * them. */
static void move_together(const ways_t *ways, const quadratic_t *model, float *push, int v,
                          float *z)
{
    for (int end = v; is_tied(ways, z, end);) {
        end += COMMANDS;
        range_t room = room_of(ways, z, v, end);
        float sum = 0.0f;
        float curvature = 0.0f;
        for (int a = v; a <= end; a += COMMANDS) {
            room = both(room, (range_t){ways->range[a].low - z[a], ways->range[a].high - z[a]});
            sum += push[a];
            for (int b = v; b <= end; b += COMMANDS) {
                curvature += model->hessian[a][b];
            }
        }
        const float step = descend(sum, curvature, room);
        for (int a = v; a < VARIABLES; a += COMMANDS) {
            for (int b = v; b <= end; b += COMMANDS) {
                push[a] = mac(-step, model->hessian[a][b], push[a]);
            }
            z[a] += a <= end ? step : 0.0f;
        }
    }
}

/* Coordinate descent on the model, the commands of each channel from the last to the first: each
 * one by itself, then with those after it that stand on the move limits between them. */
static void sweep(const ways_t *ways, const quadratic_t *model, float z[LINSOLVE_STRIDE])
{
    float push[VARIABLES]; /* minus the slope of the model, of one channel at a time */

    for (int c = 0; c < COMMANDS; ++c) {
        for (int v = MOVES + c; v >= 0; v -= COMMANDS) {
            const float *row = model->hessian[v];
            float sum = -model->gradient[v];
            UNROLL for (int a = 0; a < VARIABLES; ++a) {
                sum = mac(-row[a], z[a], sum);
            }
            const float step = descend(sum, row[v], room_of(ways, z, v, v));
            push[v] = mac(-step, row[v], sum);
            z[v] += step;
            for (int a = v + COMMANDS; a < VARIABLES; a += COMMANDS) {
                push[a] = mac(-step, row[a], push[a]);
            }
            if (is_tied(ways, z, v)) {
                move_together(ways, model, push, v, z);
            }
        }
    }
}

/* By how much half the model falls along z, to first order. */
static float promise_of(const quadratic_t *model, const float z[LINSOLVE_STRIDE])
{
    float promise = 0.0f;
    UNROLL for (int v = 0; v < VARIABLES; ++v) {
        promise = mac(-model->gradient[v], z[v], promise);
    }
    return promise;
}

bool step_find(const mpc_config_t *config, plan_t *plan, quadratic_t *model, float enough,
               float z[LINSOLVE_STRIDE], float *promise)
{
    ways_t ways;
    float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE];
    float y[LINSOLVE_STRIDE];
    range_t narrowed[VARIABLES];
    int8_t moves_to[VARIABLES];
    float moves[LINSOLVE_STRIDE];

    UNROLL for (int v = 0; v < LINSOLVE_STRIDE; ++v) {
        y[v] = -model->gradient[v];
        z[v] = 0.0f;
        moves[v] = 1.0f;
    }
    for (int v = 0; v < VARIABLES; ++v) {
        moves_to[v] = (int8_t)v;
    }
    const bool any = list_ways(config, plan, &ways);
    bool tied = false;
    if (any) {
        tied = hold_bounds(&ways, y, moves_to, moves);
        narrow(&ways, moves_to, narrowed);
    }
    if (tied) {
        merge_rows(moves_to, model, factor);
    }
    if (!linsolve_factor(tied ? factor : model->hessian, any ? moves : NULL, factor)) {
        return false;
    }
    linsolve_forward(factor, y);
    const bool met =
        substitute_back(&ways, any ? narrowed : ways.range, factor, moves_to, y, z);
    *promise = promise_of(model, z);
    for (int turn = 0; turn < 2 && (any || met); ++turn) {
        if (*promise <= enough) { /* ends cut off can lead uphill: from the plan itself, then */
            memset(z, 0, LINSOLVE_STRIDE * sizeof(float));
        } else if (turn > 0) {
            break;
        }
        sweep(&ways, model, z);
        *promise = promise_of(model, z);
    }
    return all_finite(promise, 1);
}
