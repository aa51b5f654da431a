/* libpeephole: the equations of docs/equations.md, fast on a CPU.
 *
 * B batch, T steps, I input size, H hidden size. All arrays are row-major without gaps, batch first, and belong to the
 * caller. Gates stand in the order i, f, g, o, peepholes in the order i, f, o. All sizes are at least 1.
 *
 * The functions of training allocate nothing but the threads and a few words for each layer, and check neither sizes nor
 * lengths: who calls them does. Prediction (peephole_model_open, peephole_search) has memory of its own, and checks all
 * that it is given.
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

#define PEEPHOLE_ABI_VERSION 6

enum peephole_form { PEEPHOLE_NONE = 0, PEEPHOLE_DIAGONAL = 1, PEEPHOLE_FULL = 2 };

/* What matrix products multiply: numbers as they are, or float rounded to bfloat16, with sums in float. */
enum peephole_operand { PEEPHOLE_AS_IS = 0, PEEPHOLE_BF16 = 1 };

enum peephole_function { PEEPHOLE_SIGMOID = 0, PEEPHOLE_TANH = 1 };

/* One layer in one direction over a padded batch, (1)-(6). `scalar` is the size of a number: 4 float, 8 double. */
typedef struct peephole_lstm {
  int32_t scalar;
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
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
  void *saved;                 /* peephole_lstm_saved_bytes: i, f, g, o, c and h of every real step. Written by forward, read
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

/* What the decoder reads of the source: one context for all steps, (8), or attention by an alignment model a of (15):
 * additive, vᵀ tanh(k_j + W_s s), or a product, k_jᵀ s. */
enum peephole_attention { PEEPHOLE_FIXED_CONTEXT = 0, PEEPHOLE_ADDITIVE = 1, PEEPHOLE_PRODUCT = 2 };

/* One of the decoder's layers, the lowest first. */
typedef struct peephole_decoder_layer {
  const void *h0;              /* (B,H) */
  const void *c0;              /* (B,H) */
  const void *weight_input;    /* (4H,E+M) the lowest: it reads [embedding ; context]; (4H,H) the others */
  const void *weight_hidden;   /* (4H,H) */
  const void *bias;            /* (4H) */
  const void *weight_peephole; /* (3H,H), (3,H) or NULL */
  const void *mask;            /* (B,U,H)  what the layer reads of the one below is multiplied with it; NULL: 1 */
  void *hidden;                /* (B,U,H)  h_t; 0 past lengths[b]. Written by forward, read by backward */
} peephole_decoder_layer;

/* The decoder's recurrence fed with the gold symbols, (10), (13), (15)-(17): step t computes the context c_t with the top
 * layer's s_{t-1}, then all layers. U target steps, T source steps, E embedding, M memory, A key size. */
typedef struct peephole_decoder {
  int32_t scalar, operand, form; /* as in peephole_lstm */
  int32_t attention;             /* enum peephole_attention */
  int32_t threads, num_layers;
  int64_t batch, steps, source_steps;                          /* B, U, T */
  int64_t embedding_size, memory_size, key_size, hidden_size;  /* E, M, A (H for a product), H */
  const int64_t *lengths;        /* (B)      1 <= lengths[b] <= U: target steps */
  const int64_t *source_lengths; /* (B)      1 <= source_lengths[b] <= T; not read without attention */
  const void *embedded;          /* (B,U,E)  embeddings of y_{t-1}; past lengths[b] not read */
  const void *memory;            /* (B,T,M)  h_j; (B,M) the context without attention */
  const void *keys;              /* (B,T,A)  k_j; NULL without attention */
  const void *weight_query;      /* (A,H)    W_s; NULL unless additive */
  const void *vector;            /* (A)      v; NULL unless additive */
  const peephole_decoder_layer *layers; /* num_layers of them */
  void *contexts;                /* (B,U,M)  c_t; 0 past lengths[b]. Written by forward */
  void *saved;                   /* peephole_decoder_saved_bytes; as in peephole_lstm */
  void *scratch;                 /* peephole_decoder_scratch_bytes */
} peephole_decoder;

/* Where the gradients of a layer's arguments go, in the shapes of its arrays. */
typedef struct peephole_decoder_layer_gradients {
  void *h0, *c0, *weight_input, *weight_hidden, *bias, *weight_peephole;
} peephole_decoder_layer_gradients;

/* Gradients of the results come in, those of the arguments go out, each in the shape of its array. */
typedef struct peephole_decoder_gradients {
  const void *states;   /* (B,U,H)  of the top layer's h_t; past lengths[b] not read */
  const void *contexts; /* (B,U,M)  likewise */
  void *embedded;       /* (B,U,E)  0 past lengths[b] */
  void *memory;         /* (B,T,M) or (B,M)  0 past source_lengths[b] */
  void *keys;           /* (B,T,A)  likewise; NULL without attention */
  void *weight_query;   /* (A,H); NULL unless additive */
  void *vector;         /* (A); NULL unless additive */
  const peephole_decoder_layer_gradients *layers;
} peephole_decoder_gradients;

/* y = W x + b for N rows x: W h_j of (15), the readout of (10). */
typedef struct peephole_linear {
  int32_t scalar;  /* 4 float, 8 double */
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
  int32_t threads; /* at least 1; results do not depend on it */
  int64_t rows, inputs, outputs; /* N, K, O */
  const void *x;      /* (N,K) */
  const void *weight; /* (O,K)  W */
  const void *bias;   /* (O)    b; NULL: 0. Not looked at by backward */
  void *y;            /* (N,O)  Written by forward; not looked at by backward */
  void *scratch;      /* peephole_linear_scratch_bytes; holds nothing before or after a call */
} peephole_linear;

/* Gradients of a loss: that of y comes in, the others go out, each in the shape of its array. */
typedef struct peephole_linear_gradients {
  const void *y; /* (N,O) */
  void *x;       /* (N,K) */
  void *weight;  /* (O,K) */
  void *bias;    /* (O); NULL: not wanted */
} peephole_linear_gradients;

/* loss = -sum over the real rows n of log p(target_n), p = softmax(W r_n + b): (10), (11) and the sum of (12). With
 * label smoothing s the gold distribution is (1 - s) at the target plus s / V everywhere. The logits of all rows never
 * exist at once: scratch holds those of a few hundred rows. */
typedef struct peephole_output_loss {
  int32_t scalar;  /* 4 float, 8 double */
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
  int32_t threads; /* at least 1; results do not depend on it */
  int64_t rows, hidden_size, symbols; /* N, H, V */
  int64_t padding;        /* rows with this target are not real: they add nothing, and r is not read there */
  double label_smoothing; /* s, from 0 to 1 */
  const int64_t *targets; /* (N)    in [0, V) */
  const void *readouts;   /* (N,H)  r */
  const void *weight;     /* (V,H)  W */
  const void *bias;       /* (V)    b */
  void *loss;             /* (1)    written */
  void *scratch;          /* peephole_output_loss_scratch_bytes; holds nothing before or after a call */
} peephole_output_loss;

/* Gradients of the loss itself, each in the shape of its array. */
typedef struct peephole_output_loss_gradients {
  void *readouts; /* (N,H)  0 in rows that are not real */
  void *weight;   /* (V,H) */
  void *bias;     /* (V) */
} peephole_output_loss_gradients;

/* What dropout multiplies with: mask[b][t][u] = 1 / keep_rate where the bits of (b, t, u), as a signed number, are at
 * least `threshold`, else 0. All in unsigned arithmetic, m and m32 being
 *
 *   m(x):   x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;  x = (x ^ x >> 27) * 0x94D049BB133111EB;  x ^ x >> 31   (64 bits)
 *   m32(x): x = x * 0x85EBCA6B;  (x ^ x >> 15) * 0xC2B2AE35                                                 (32 bits)
 *
 * bits[b][t][u] = m32(low 32 bits of m(m(examples[b] ^ place) + (t + 1) * 0x9E3779B9) ^ unit_keys[u]). */
typedef struct peephole_dropout_mask {
  int32_t threads; /* at least 1; the mask does not depend on it */
  int32_t threshold; /* (1 - keep_rate) 2^32 - 2^31 */
  float keep_rate;
  int64_t batch, steps, units; /* B, T, F */
  int64_t place;               /* a number for the run, the training step and the place in the model */
  const int64_t *examples;     /* (B) */
  const uint32_t *unit_keys;   /* (F)     low 32 bits of m((u + 1) * 0x9E3779B9) */
  float *mask;                 /* (B,T,F) written */
} peephole_dropout_mask;

/* A model packed for prediction; any number of threads may search with it at the same time. */
typedef struct peephole_model peephole_model;

enum peephole_side { PEEPHOLE_SOURCE = 0, PEEPHOLE_TARGET = 1 };

/* Symbols that every vocabulary begins with: padding, beginning, end, and what was not seen in training. */
enum peephole_symbol { PEEPHOLE_PAD = 0, PEEPHOLE_BOS = 1, PEEPHOLE_EOS = 2, PEEPHOLE_UNK = 3 };

/* Beam search (of one hypothesis: greedy); samples; the scores of targets that are given. */
enum peephole_search_kind { PEEPHOLE_BEAM = 0, PEEPHOLE_SAMPLE = 1, PEEPHOLE_FORCE = 2 };

/* What to find for B sources of any lengths. The symbols of all stand one after the other; source b has those from
 * source_offsets[b] up to source_offsets[b + 1]. */
typedef struct peephole_request {
  int32_t kind;           /* enum peephole_search_kind */
  int32_t threads;        /* at least 1; results do not depend on it */
  int32_t with_attention; /* 0: results have none */
  int64_t num_models;     /* at least 1; of several the probabilities are averaged */
  const peephole_model *const *models;
  int64_t num_sources;           /* B */
  int64_t batch_size;            /* sources in work at the same time; memory grows with it, results do not depend on it */
  const int64_t *source_offsets; /* (B+1)  from 0, rising: no source is empty */
  const int32_t *sources;        /* symbols, in [0, V) of the source side */
  const int64_t *max_lengths;    /* (B)    most symbols of each target, </s> included; not read for targets given */
  const int64_t *target_offsets; /* (B+1)  from 0, not falling; NULL: targets are all empty (not for targets given) */
  const int32_t *targets;        /* symbols that each target begins with, fewer than its max_lengths; or the whole target.
                                    Without </s>; <pad> and <s> only in whole targets */
  int64_t beam_size;             /* beam: K */
  int64_t nbest;                 /* beam: most targets returned, up to K; samples: how many */
  double length_penalty;         /* beam: log p / length^length_penalty ranks */
  double temperature;            /* samples: above 0 */
  double top_p;                  /* samples: the fewest symbols that hold this probability; 1: all */
  int64_t top_k;                 /* samples: the most probable symbols; 0: all */
  const int64_t *uniform_offsets; /* (B)   samples: where each source's random numbers begin */
  const double *uniform;          /* samples: nbest * max_lengths[b] numbers in [0, 1) for source b, one sample after the
                                     other */
} peephole_request;

/* Targets found: N of them, in the order of the sources and, for one source, best first (samples: in their order). All
 * arrays belong to the result. */
typedef struct peephole_result {
  int64_t num_targets;            /* N */
  const int64_t *source;          /* (N)    which source */
  const double *log_probs;        /* (N)    log p(Y|X), (11) */
  const int64_t *offsets;         /* (N+1)  target n has the symbols from offsets[n] up to offsets[n + 1] */
  const int32_t *symbols;         /* </s> included where it was predicted */
  const float *symbol_log_probs;  /* log p of each symbol given those before it */
  const int32_t *likeliest;       /* targets given: the most probable symbol at each place; else NULL */
  const int64_t *attention_offsets; /* (N+1)  target n has U x T weights, (16), U its symbols without </s> */
  const float *attention;         /* NULL if no model has attention, or none is wanted */
} peephole_result;

/* PEEPHOLE_ABI_VERSION of the library. */
PEEPHOLE_API int32_t peephole_abi_version(void);

/* Name of the index-th instruction set this processor can run, best first ("avx512_bf16", "avx512", "avx2", "generic"), else NULL. */
PEEPHOLE_API const char *peephole_instruction_set(int32_t index);

/* Bytes of `saved`, and of `scratch` for a forward or (backward != 0) a backward call. Only types, sizes, form and
 * threads are read; of a decoder also `attention` and `layers`, num_layers of them, whose arrays may be NULL. */
PEEPHOLE_API size_t peephole_lstm_saved_bytes(const peephole_lstm *problem);
PEEPHOLE_API size_t peephole_lstm_scratch_bytes(const peephole_lstm *problem, int32_t backward);

/* Compute (1)-(6) for all steps. Returns 0, or 1 if the instruction set is unknown or cannot run here. */
PEEPHOLE_API int32_t peephole_lstm_forward(const peephole_lstm *problem, const char *instruction_set);

/* Compute all gradients after a forward call with the same problem. Returns as forward. */
PEEPHOLE_API int32_t peephole_lstm_backward(const peephole_lstm *problem, const peephole_lstm_gradients *gradients,
                                            const char *instruction_set);

/* The same for the decoder. */
PEEPHOLE_API size_t peephole_decoder_saved_bytes(const peephole_decoder *problem);
PEEPHOLE_API size_t peephole_decoder_scratch_bytes(const peephole_decoder *problem, int32_t backward);
PEEPHOLE_API int32_t peephole_decoder_forward(const peephole_decoder *problem, const char *instruction_set);
PEEPHOLE_API int32_t peephole_decoder_backward(const peephole_decoder *problem,
                                               const peephole_decoder_gradients *gradients,
                                               const char *instruction_set);

/* Bytes of `scratch` for a forward or (backward != 0) a backward call. Only types, sizes and threads are read. */
PEEPHOLE_API size_t peephole_linear_scratch_bytes(const peephole_linear *problem, int32_t backward);

/* Compute y. A row of y is the same bits whatever rows stand beside it. Returns 0, or 1 if the instruction set is
 * unknown or cannot run here. */
PEEPHOLE_API int32_t peephole_linear_forward(const peephole_linear *problem, const char *instruction_set);

/* Compute all gradients; needs no forward call. Returns as forward. */
PEEPHOLE_API int32_t peephole_linear_backward(const peephole_linear *problem,
                                              const peephole_linear_gradients *gradients, const char *instruction_set);

/* Bytes of `scratch` with (gradients != 0) or without gradients. Only types, sizes and threads are read. */
PEEPHOLE_API size_t peephole_output_loss_scratch_bytes(const peephole_output_loss *problem, int32_t gradients);

/* Compute the loss and, unless `gradients` is NULL, all gradients in the same pass. Returns 0; 1 if the instruction set
 * is unknown or cannot run here; 2 if a target is not in [0, V): then nothing is meaningful. */
PEEPHOLE_API int32_t peephole_output_loss_run(const peephole_output_loss *problem,
                                              const peephole_output_loss_gradients *gradients,
                                              const char *instruction_set);

/* Write the mask. Returns 0, or 1 if the instruction set is unknown or cannot run here. */
PEEPHOLE_API int32_t peephole_dropout_mask_run(const peephole_dropout_mask *problem, const char *instruction_set);

/* Read a model file that stands in memory, read or mapped, check all of it, and pack its weights. The memory is not needed
 * any more afterwards. Returns NULL if it is not a whole model file, the instruction set (NULL: the best) is unknown, or
 * memory is short; `message` then gets one line of at most message_size - 1 bytes. */
PEEPHOLE_API peephole_model *peephole_model_open(const void *file, size_t size, const char *instruction_set, char *message,
                                                 size_t message_size);
PEEPHOLE_API void peephole_model_close(peephole_model *model);

/* Number of symbols V of a side; the text of one, UTF-8 (NULL if there is no such symbol); the symbol of a text (3, <unk>, if
 * there is none). Symbols 0 to 3 are found by no text. */
PEEPHOLE_API int64_t peephole_model_num_symbols(const peephole_model *model, int32_t side);
PEEPHOLE_API const char *peephole_model_symbol_text(const peephole_model *model, int32_t side, int64_t symbol);
PEEPHOLE_API int32_t peephole_model_find_symbol(const peephole_model *model, int32_t side, const char *text, size_t size);

/* Find targets. Returns 0 and a result, to be released; else 1 and a message, as peephole_model_open, if the request is
 * impossible, a model gives no symbol a probability, or memory is short. */
PEEPHOLE_API int32_t peephole_search(const peephole_request *request, peephole_result **result, char *message,
                                     size_t message_size);
PEEPHOLE_API void peephole_result_release(peephole_result *result);

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
