/* libpeephole: the equations of docs/equations.md, fast on a CPU.
 *
 * B batch, T steps, I input size, H hidden size. All arrays are row-major without gaps, batch first, and belong to the
 * caller; nothing is allocated here, but for the threads. Gates stand in the order i, f, g, o, peepholes in the order
 * i, f, o. All sizes are at least 1. Sizes and lengths are not checked here: peephole/engine.py does that.
 *
 * A sequence's outputs and last state are the same bits in any batch, order and padding, on any number of threads; so
 * are all gradients on any number of threads.
 */
#ifndef PEEPHOLE_H
#define PEEPHOLE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PEEPHOLE_API __attribute__((visibility("default")))
#else
#define PEEPHOLE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PEEPHOLE_ABI_VERSION 1

enum peephole_form { PEEPHOLE_NONE = 0, PEEPHOLE_DIAGONAL = 1, PEEPHOLE_FULL = 2 };

enum peephole_function { PEEPHOLE_SIGMOID = 0, PEEPHOLE_TANH = 1 };

/* One layer in one direction over a padded batch, (1)-(6). `scalar` is the size of a number: 4 float, 8 double. */
typedef struct peephole_lstm {
  int32_t scalar;
  int32_t form;    /* enum peephole_form */
  int32_t reverse; /* not 0: each sequence is read from its last real step to its first, (19) */
  int32_t threads; /* at least 1; results do not depend on it */
  int64_t batch, steps, input_size, hidden_size;
  const int64_t *lengths;      /* (B)      1 <= lengths[b] <= T */
  const void *x;               /* (B,T,I)  past lengths[b] it is not read */
  const void *h0;              /* (B,H) */
  const void *c0;              /* (B,H) */
  const void *weight_input;    /* (4H,I)   W_xi, W_xf, W_xc, W_xo */
  const void *weight_hidden;   /* (4H,H)   W_hi, W_hf, W_hc, W_ho */
  const void *bias;            /* (4H)     b_i, b_f, b_c, b_o */
  const void *weight_peephole; /* (3H,H) full, (3,H) diagonal: W_ci, W_cf, W_co; NULL for none */
  void *out;                   /* (B,T,H)  h_t; 0 past lengths[b]. Written by forward, read by backward */
  void *h_last;                /* (B,H)    h after the last step read. Written by forward */
  void *c_last;                /* (B,H)    c likewise */
  void *saved;                 /* peephole_lstm_saved_bytes: i, f, g, o, c of every real step. Written by forward, read
                                  by backward with the same instruction set; never written by backward */
  void *scratch;               /* peephole_lstm_scratch_bytes; holds nothing before or after a call */
} peephole_lstm;

/* Gradients of a loss: those of the results come in, those of the arguments go out, each in the shape of its array. */
typedef struct peephole_lstm_gradients {
  const void *out;       /* (B,T,H)  past lengths[b] it is not read */
  const void *h_last;    /* (B,H) */
  const void *c_last;    /* (B,H) */
  void *x;               /* (B,T,I)  0 past lengths[b] */
  void *h0;              /* (B,H) */
  void *c0;              /* (B,H) */
  void *weight_input;    /* (4H,I) */
  void *weight_hidden;   /* (4H,H) */
  void *bias;            /* (4H) */
  void *weight_peephole; /* (3H,H) or (3,H); NULL for none */
} peephole_lstm_gradients;

/* PEEPHOLE_ABI_VERSION of the library. */
PEEPHOLE_API int32_t peephole_abi_version(void);

/* Name of the index-th instruction set this processor can run, best first ("avx512", "avx2", "generic"), else NULL. */
PEEPHOLE_API const char *peephole_instruction_set(int32_t index);

/* Bytes of `saved`, and of `scratch` for a forward or (backward != 0) a backward call. Only sizes and form are read. */
PEEPHOLE_API size_t peephole_lstm_saved_bytes(const peephole_lstm *problem);
PEEPHOLE_API size_t peephole_lstm_scratch_bytes(const peephole_lstm *problem, int32_t backward);

/* Compute (1)-(6) for all steps. Returns 0, or 1 if the instruction set is unknown or cannot run here. */
PEEPHOLE_API int32_t peephole_lstm_forward(const peephole_lstm *problem, const char *instruction_set);

/* Compute all gradients after a forward call with the same problem. Returns as forward. */
PEEPHOLE_API int32_t peephole_lstm_backward(const peephole_lstm *problem, const peephole_lstm_gradients *gradients,
                                            const char *instruction_set);

/* Apply σ or tanh, as the cell does, to n numbers; for tests of their accuracy. Returns as forward. */
PEEPHOLE_API int32_t peephole_activation(int32_t function, int32_t scalar, int64_t n, const void *in, void *out,
                                         const char *instruction_set);

/* Do `repeats` matrix products that fit the first cache, on one thread, to measure what the processor can do.
 * Returns the floating point operations done, -1 if the instruction set is unknown. */
PEEPHOLE_API int64_t peephole_peak(int64_t repeats, int32_t scalar, const char *instruction_set);

#ifdef __cplusplus
}
#endif

#endif
