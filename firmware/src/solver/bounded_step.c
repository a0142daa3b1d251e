/* Projected Newton: what stands on a bound and is pushed against it is held there, and the others
 * take Newton's step (Bertsekas, "Projected Newton methods for optimization problems with simple
 * constraints", 1982). Where that meets further bounds, cutting it off there would not do: the
 * others have to answer. They do so twice,
 * - in the substitution, from the last command, which stands for all of the tail, to the first: each
 *   one is where the model is lowest given those after it, which are within their bounds already;
 * - in one sweep of coordinate descent over the whole model, which also lets go what was held in
 *   vain.
 * One factorisation so comes close to the bounded minimum, and holds the right bounds the next time.
 * Only a sweep from the plan itself that finds nothing to gain says that there is nothing.
 *
 * Variables are the planned commands, newest first: the one before v in time is v + COMMANDS, for
 * the first ones u_-1. */
/* What loops over a handful of variables is worth peeling. */
#ifdef __GNUC__
#pragma GCC optimize("O3")
#endif
#include "solver/bounded_step.h"

/* Away from the usual way, which has no bound in it, and built small. */
#define SELDOM __attribute__((noinline, cold))

typedef struct {
    float low;
    float high;
} range_t;

/* The bounds, and where the commands are and will be. */
typedef struct {
    const mpc_config_t *config;
    const float *from; /* the plan's commands */
    float *to;
    float z[LINSOLVE_STRIDE]; /* to - from */
} way_t;

#define HELD (-1) /* see hold_bounds */
#define MOVES (VARIABLES - COMMANDS) /* from a planned command to the next one */

/* The commands' ranges before any of them is chosen: what u_-1 can reach in as many moves. From the
 * last command to the first, each one then finds room next to the one after it. True if any stands
 * on an end of its way that its own push points to. */
static bool look_around(const way_t *way, const float push[VARIABLES], range_t ranges[VARIABLES])
{
    bool any = false;
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c];
        const float high = way->config->command_max[c];
        const float move_max = way->config->move_max[c];
        const float far = move_max - BOUND_TOLERANCE;
        float before = way->from[VARIABLES + c];
        range_t range = {before, before};
        for (int v = VARIABLES - COMMANDS + c; v >= 0; v -= COMMANDS) {
            const float u = way->from[v];
            range.low = larger(range.low - move_max, low);
            range.high = smaller(range.high + move_max, high);
            ranges[v] = range;
            if (push[v] > 0.0f
                    ? range.high - u <= BOUND_TOLERANCE || (MOVES > 0 && u - before >= far)
                    : u - range.low <= BOUND_TOLERANCE || (MOVES > 0 && before - u >= far)) {
                any = true;
            }
            before = u;
        }
    }
    return any;
}

/* From the last command of each channel to the first: what stands on its move limit and is pushed
 * against it is tied to the command before it; what stands on a bound and is pushed against that
 * is held, with all that is tied to it. Those that are tied together move as the last of them:
 * `leader[v]`, which is v if it moves by itself, HELD if it is held. `push` adds up in the leader
 * and becomes 0 elsewhere. */
SELDOM static void hold_bounds(const way_t *way, float push[LINSOLVE_STRIDE], int8_t leader[VARIABLES])
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c] + BOUND_TOLERANCE;
        const float high = way->config->command_max[c] - BOUND_TOLERANCE;
        const float far = way->config->move_max[c] - BOUND_TOLERANCE;
        float sum = 0.0f;
        bool held = false;
        int first = c;
        for (int v = c; v < VARIABLES; v += COMMANDS) {
            const float u = way->from[v];
            const float move = u - way->from[v + COMMANDS];
            bool stopped = false;
            sum += push[v];
            if (sum > 0.0f) {
                held = held || u >= high;
                stopped = move >= far;
            } else if (sum < 0.0f) {
                held = held || u <= low;
                stopped = -move >= far;
            }
            leader[v] = (int8_t)first;
            if (stopped && v + COMMANDS < VARIABLES) {
                push[v] = 0.0f;
                continue;
            }
            push[v] = 0.0f;
            push[first] = sum;
            if (stopped || held) {
                push[first] = 0.0f;
                for (int w = first; w <= v; w += COMMANDS) {
                    leader[w] = HELD;
                }
            }
            first = v + COMMANDS;
            sum = 0.0f;
            held = false;
        }
    }
}

/* Element of the lower half. */
static inline float *element(float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE], int a, int b)
{
    return a > b ? &matrix[a][b] : &matrix[b][a];
}

/* The Hessian of what moves: rows and columns of commands that are tied together add up in those of
 * their leader; what does not move by itself has those of the identity. */
SELDOM static void reduce(const int8_t leader[VARIABLES], const quadratic_t *model,
                          float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE])
{
    memcpy(matrix, model->hessian, sizeof model->hessian);
    for (int v = 0; v < VARIABLES; ++v) {
        const int to = leader[v];
        if (to >= 0 && to < v) {
            matrix[to][to] += matrix[v][v] + 2.0f * matrix[v][to];
            for (int a = 0; a < VARIABLES; ++a) {
                if (a != v && a != to) {
                    *element(matrix, a, to) += *element(matrix, a, v);
                }
            }
        }
    }
    for (int v = 0; v < VARIABLES; ++v) {
        for (int a = 0; leader[v] != v && a < VARIABLES; ++a) {
            *element(matrix, a, v) = a == v ? 1.0f : 0.0f;
        }
    }
}

/* L z = y within the bounds, the last command first, tile after tile. True if a bound was met. */
static bool substitute(way_t *way, float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                       const range_t ranges[VARIABLES], const int8_t leader[VARIABLES],
                       const float y[LINSOLVE_STRIDE])
{
    bool met = false;

    for (int i = 0; i < VARIABLES; i += LINSOLVE_TILE) {
        float left[LINSOLVE_TILE];
        const float *row = factor[i];
        UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
            left[r] = y[i + r];
        }
        for (const float *z = way->z; z != way->z + i; ++z, ++row) {
            UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
                left[r] = mac(-row[r * LINSOLVE_STRIDE], *z, left[r]);
            }
        }
        UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
            const int v = i + r;
            if (LINSOLVE_STRIDE > VARIABLES && v >= VARIABLES) {
                break;
            }
            range_t range = ranges[v];
            if (MOVES > 0 && v >= COMMANDS) {
                const int c = (LINSOLVE_TILE % COMMANDS == 0 ? r : v) % COMMANDS;
                const float move_max = way->config->move_max[c];
                const float after = way->to[v - COMMANDS];
                range.low = larger(range.low, after - move_max);
                range.high = smaller(range.high, after + move_max);
            }
            const int first = leader == NULL ? v : leader[v];
            float step = first == v      ? left[r] * row[r * LINSOLVE_STRIDE + r]
                         : first == HELD ? 0.0f
                                         : way->z[first];
            const float wanted = way->from[v] + step;
            const float command = clamp(wanted, range.low, range.high);
            way->to[v] = command;
            if (command != wanted) {
                met = true;
                step = command - way->from[v];
            }
            way->z[v] = step;
            UNROLL for (int q = r + 1; q < LINSOLVE_TILE; ++q) {
                left[q] = mac(-row[q * LINSOLVE_STRIDE + r], step, left[q]);
            }
        }
    }
    return met;
}

/* Minus the slope of the model. */
static inline float push_of(const way_t *way, const quadratic_t *model, int v)
{
    float push = -model->gradient[v];
    UNROLL for (int a = 0; a < VARIABLES; ++a) {
        push = mac(-model->hessian[v][a], way->z[a], push);
    }
    return push;
}

/* Between v and the command after it. */
static inline bool on_move_limit(const way_t *way, int v, float move_max)
{
    return v >= COMMANDS
           && fabsf(way->to[v - COMMANDS] - way->to[v]) >= move_max - BOUND_TOLERANCE;
}

/* v, which is still pushed so, with one, two .. of the commands after it, as far as they stand on the
 * move limits between them. */
__attribute__((noinline)) static void move_together(way_t *way, const quadratic_t *model,
                                                     int c, int v, float push)
{
    const float low = way->config->command_min[c];
    const float high = way->config->command_max[c];
    const float move_max = way->config->move_max[c];
    const float before = way->to[v + COMMANDS];
    float curvature = model->hessian[v][v];
    float lowest = way->to[v];
    float highest = lowest;

    for (int end = v; on_move_limit(way, end, move_max);) {
        end -= COMMANDS;
        push += push_of(way, model, end);
        curvature += model->hessian[end][end];
        for (int w = end + COMMANDS; w <= v; w += COMMANDS) {
            curvature = mac(2.0f, model->hessian[end][w], curvature);
        }
        lowest = smaller(lowest, way->to[end]);
        highest = larger(highest, way->to[end]);
        float least = larger(low - lowest, before - way->to[v] - move_max);
        float most = smaller(high - highest, before - way->to[v] + move_max);
        if (end >= COMMANDS) {
            const float after = way->to[end - COMMANDS] - way->to[end];
            least = larger(least, after - move_max);
            most = smaller(most, after + move_max);
        }
        const float step = clamp(push / curvature, least, most);
        for (int w = end; w <= v; w += COMMANDS) {
            way->to[w] = clamp(way->to[w] + step, low, high);
            way->z[w] = way->to[w] - way->from[w];
        }
        if (v >= MOVES) { /* the move that is made next, to the last bit */
            way->to[v] = clamp(way->to[v], before - move_max, before + move_max);
        }
        push = mac(-step, curvature, push);
        lowest += step;
        highest += step;
    }
}

/* Coordinate descent on the model, the commands of each channel from the last to the first: each
 * one by itself, then with those after it that stand on the move limits between them. */
static void sweep(way_t *way, const range_t ranges[VARIABLES], const quadratic_t *model)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c];
        const float high = way->config->command_max[c];
        const float move_max = way->config->move_max[c];
        float after = way->to[c + COMMANDS]; /* there is none after the last */
        for (int v = c; v < VARIABLES; v += COMMANDS) {
            const float push = push_of(way, model, v);
            const float curvature = model->hessian[v][v];
            const float wanted = way->to[v] + push / curvature;
            range_t range = ranges[v];
            if (MOVES > 0) {
                const float before = way->to[v + COMMANDS];
                const bool falling = before < after;
                range.low = larger(low, (falling ? after : before) - move_max);
                range.high = smaller(high, (falling ? before : after) + move_max);
            }
            const float command = clamp(wanted, range.low, range.high);
            way->to[v] = after = command;
            way->z[v] = command - way->from[v];
            if (command != wanted && on_move_limit(way, v, move_max)) {
                move_together(way, model, c, v, curvature * (wanted - command));
                after = way->to[v];
            }
        }
    }
}

/* By how much half the model falls along z, to first order. */
static inline float promise_of(const quadratic_t *model, const float z[LINSOLVE_STRIDE])
{
    float promise = 0.0f;
    UNROLL for (int v = 0; v < VARIABLES; ++v) {
        promise = mac(-model->gradient[v], z[v], promise);
    }
    return promise;
}

bool step_find(const mpc_config_t *config, plan_t *plan, quadratic_t *model, float enough,
               float *commands, float *promise)
{
    way_t way;
    float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE];
    float y[LINSOLVE_STRIDE];
    range_t ranges[VARIABLES];
    int8_t leader[VARIABLES];

    way.config = config;
    way.from = plan_planned(plan);
    way.to = commands;
    UNROLL for (int v = 0; v < LINSOLVE_STRIDE; ++v) {
        y[v] = -model->gradient[v];
        way.z[v] = 0.0f;
    }
    const bool any = look_around(&way, y, ranges);
    if (any) {
        hold_bounds(&way, y, leader);
        reduce(leader, model, factor);
    }
    if (!linsolve_factor(any ? factor : model->hessian, factor)) {
        return false;
    }
    linsolve_backward(factor, y);
    const bool met = substitute(&way, factor, ranges, any ? leader : NULL, y);
    *promise = promise_of(model, way.z);
    for (int turn = 0; turn < 2 && (any || met); ++turn) {
        if (*promise <= enough) { /* ends cut off can lead uphill: from the plan itself, then */
            memset(way.z, 0, sizeof way.z);
            memcpy(way.to, way.from, VARIABLES * sizeof(float));
        } else if (turn > 0) {
            break;
        }
        sweep(&way, ranges, model);
        *promise = promise_of(model, way.z);
    }
    return is_finite(*promise);
}
