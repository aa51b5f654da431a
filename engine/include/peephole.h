/* libpeephole: the equations of docs/equations.md on a CPU.
 *
 * B batch, T steps, I input size, H hidden size. All arrays are row-major without gaps, batch first, and owned by the
 * caller. The order of gates is i, f, g, o, that of peepholes i, f, o. All sizes are at least 1.
 *
 * The functions of training on single layers allocate only the threads and a few words for each layer. They do not check
 * sizes and lengths; the caller must. Whole steps of training (peephole_trainer_open, peephole_trainer_run) and prediction
 * (peephole_model_open, peephole_search, peephole_draw, peephole_trace_make, peephole_session_*) allocate their own memory
 * and check all sizes, settings, offsets and symbols. The functions of prediction that write a message also refuse NULL
 * where they would read or write; the message names the argument or field. Their `message` may be NULL: none is written.
 *
 * Not checked: whether an array is as long as stated here, and whether frames are finite; addresses in whole steps of
 * training; addresses given to functions without a message. Those must not be NULL, but _close and _release accept NULL.
 *
 * A sequence's outputs and last state are the same bits for any batch, order, padding and number of threads; all
 * gradients are the same bits for any number of threads.
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

#define PEEPHOLE_ABI_VERSION 24

/* What a function returns. */
enum peephole_status {
  PEEPHOLE_OK = 0,
  PEEPHOLE_NO_INSTRUCTION_SET = 1, /* the name is unknown, or this processor cannot run it */
  PEEPHOLE_BAD_TARGET = 2,         /* a target is not in [0, V) */
  PEEPHOLE_REFUSED = 3,            /* see the message */
  PEEPHOLE_STOPPED = 4             /* the caller's should_stop stopped it */
};

enum peephole_form { PEEPHOLE_NONE = 0, PEEPHOLE_DIAGONAL = 1, PEEPHOLE_FULL = 2 };

enum peephole_cell { PEEPHOLE_LSTM = 0, PEEPHOLE_GRU = 1 };

/* Zoneout, (43): the states of which a step keeps a share of the value before it. */
enum peephole_zoneout { PEEPHOLE_ZONEOUT_OF_H = 1, PEEPHOLE_ZONEOUT_OF_C = 2 };

/* Operands of matrix products: the numbers themselves, or floats rounded to bfloat16, with sums in float. */
enum peephole_operand { PEEPHOLE_AS_IS = 0, PEEPHOLE_BF16 = 1 };

enum peephole_function { PEEPHOLE_SIGMOID = 0, PEEPHOLE_TANH = 1 };

/* One layer in one direction over a padded batch: an LSTM, (1)-(6), or a GRU, whose form is PEEPHOLE_NONE and whose
 * weights have 3H rows, W_xr, W_xz, W_xn and W_hr, W_hz, W_hn. `scalar` is the size of a number: 4 float, 8 double. */
typedef struct peephole_lstm {
  int32_t scalar;
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
  int32_t form;    /* enum peephole_form */
  int32_t reverse; /* not 0: read each sequence from its last real step to its first, (19) */
  int32_t threads; /* at least 1; results do not depend on it */
  int32_t cell;    /* enum peephole_cell */
  int32_t zoneout; /* 0, or numbers of enum peephole_zoneout added up; of a GRU not that of c */
  int32_t layer_norm; /* not 0: the gates are normalised and, of an LSTM, the cell that the output reads, (44)-(46) */
  int64_t batch, steps, input_size, hidden_size;
  const int64_t *lengths;      /* (B)      1 <= lengths[b] <= T */
  const void *x;               /* (B,T,I)  not read past lengths[b] */
  const void *h0;              /* (B,H) */
  const void *c0;              /* (B,H); NULL of a GRU */
  const void *weight_input;    /* (4H,I)   W_xi, W_xf, W_xc, W_xo */
  const void *weight_hidden;   /* (4H,H)   W_hi, W_hf, W_hc, W_ho */
  const void *bias;            /* (4H)     b_i, b_f, b_c, b_o; of a GRU (3H) b_xr, b_xz, b_xn */
  const void *bias_hidden;     /* (3H)     b_hr, b_hz, b_hn of a GRU; else NULL */
  const void *weight_peephole; /* (3H,H) full, (3,H) diagonal: W_ci, W_cf, W_co; NULL for none */
  const void *taken_h;         /* (B,T,H)  h_t = taken_h h̃_t + (1 - taken_h) h_{t-1}; not read without zoneout of h */
  const void *taken_c;         /* (B,T,H)  likewise of c̃_t */
  const void *gain;            /* (4H), of a GRU (3H)  γ of the gates, as the weights; not read without layer_norm */
  const void *cell_gain;       /* (H)      γ of (45); likewise, and not of a GRU, as the next */
  const void *cell_bias;       /* (H)      b of (45) */
  void *out;                   /* (B,T,H)  h_t; 0 past lengths[b]. Written by forward, read by backward */
  void *h_last;                /* (B,H)    h after the last step read. Written by forward */
  void *c_last;                /* (B,H)    c likewise; NULL of a GRU */
  void *saved;                 /* peephole_lstm_saved_bytes: i, f, g, o, c and h of every real step. Written by forward, read
                                  by backward with the same instruction set, which does not write it */
  void *scratch;               /* peephole_lstm_scratch_bytes; temporary */
} peephole_lstm;

/* Gradients of a loss, each in the shape of its array: inputs are those of the results, outputs those of the arguments. */
typedef struct peephole_lstm_gradients {
  const void *out;       /* (B,T,H)  not read past lengths[b] */
  const void *h_last;    /* (B,H) */
  const void *c_last;    /* (B,H); NULL of a GRU, as c0 */
  void *x;               /* (B,T,I)  0 past lengths[b] */
  void *h0;              /* (B,H) */
  void *c0;              /* (B,H) */
  void *weight_input;    /* (4H,I) */
  void *weight_hidden;   /* (4H,H) */
  void *bias;            /* (4H) */
  void *bias_hidden;     /* (3H); NULL unless a GRU */
  void *weight_peephole; /* (3H,H) or (3,H); NULL for none */
  void *gain, *cell_gain, *cell_bias; /* not written without layer_norm */
} peephole_lstm_gradients;

/* The decoder's context: the same for all steps, (8), or attention with an alignment model a of (15): additive,
 * vᵀ tanh(k_j + W_s s); a product, k_jᵀ s; additive with features of the weights before, (21) or (22),
 * vᵀ tanh(k_j + W_s s + b + U f_j); or additive with several heads, (24), (25). */
enum peephole_attention {
  PEEPHOLE_FIXED_CONTEXT = 0,
  PEEPHOLE_ADDITIVE = 1,
  PEEPHOLE_PRODUCT = 2,
  PEEPHOLE_LOCATION = 3,
  PEEPHOLE_COVERAGE = 4,
  PEEPHOLE_MULTIHEAD = 5
};

/* One of the decoder's layers, the lowest first. */
typedef struct peephole_decoder_layer {
  const void *h0;              /* (B,H) */
  const void *c0;              /* (B,H); NULL of a GRU */
  const void *weight_input;    /* (4H,E+M) the lowest: it reads [embedding ; context]; (4H,H) the others. With
                                  input_feeding (4H,E+M+H): it also reads r_{t-1} */
  const void *weight_hidden;   /* (4H,H) */
  const void *bias;            /* (4H) */
  const void *bias_hidden;     /* (3H) of a GRU, whose other weights have 3H rows and which has no c0; else NULL */
  const void *weight_peephole; /* (3H,H), (3,H) or NULL */
  const void *mask;            /* (B,U,H)  factors of the layer's input from the layer below; NULL: 1 */
  const void *taken_h;         /* (B,U,H)  as in peephole_lstm */
  const void *taken_c;         /* (B,U,H)  likewise */
  const void *gain, *cell_gain, *cell_bias; /* as in peephole_lstm */
  void *hidden;                /* (B,U,H)  h_t; 0 past lengths[b]. Written by forward, read by backward */
} peephole_decoder_layer;

/* The decoder's recurrence with teacher forcing, (10), (13), (15)-(17): step t computes the context c_t from the top
 * layer's s_{t-1}, then all layers. U target steps, T source steps, E embedding size, M memory size, A key size. */
typedef struct peephole_decoder {
  int32_t scalar, operand, form; /* as in peephole_lstm */
  int32_t attention;             /* enum peephole_attention */
  int32_t threads, num_layers;
  int32_t cell;                  /* enum peephole_cell, of all layers */
  int32_t residual;              /* not 0: a layer reads the sum of the h_t of all layers below it, (41) */
  int32_t input_feeding;         /* not 0: the lowest layer also reads r_{t-1}, (62), r_0 = 0, of the five arrays below */
  int32_t zoneout, layer_norm;   /* as in peephole_lstm, of all layers */
  int64_t batch, steps, source_steps;                          /* B, U, T */
  int64_t embedding_size, memory_size, key_size, hidden_size;  /* E, M, A (H for a product), H */
  int64_t channels, filter_width; /* C, R, odd: location; else not read */
  int64_t heads;                  /* K, a divisor of A and M: multihead; else not read */
  const int64_t *lengths;        /* (B)      1 <= lengths[b] <= U: target steps */
  const int64_t *source_lengths; /* (B)      1 <= source_lengths[b] <= T; not read without attention */
  const void *embedded;          /* (B,U,E)  embeddings of y_{t-1}; not read past lengths[b] */
  const void *memory;            /* (B,T,M)  h_j, for multihead W_v h_j; (B,M) the context without attention */
  const void *keys;              /* (B,T,A)  k_j; NULL without attention */
  const void *asked;             /* (B,U,A)  W_y E(y_{t-1}) of (67), added to the queries; not read past lengths[b]; NULL: 0 */
  const void *weight_query;      /* (A,H)    W_s; NULL for a product or without attention */
  const void *vector;            /* (A)      v; likewise */
  const void *attention_bias;    /* (A)      b; NULL unless location or coverage */
  const void *weight_location;   /* (A,C)    U of location; (A) w_c of coverage; else NULL */
  const void *filters;           /* (C,R)    F of location; else NULL */
  const void *weight_output;     /* (M,M)    W_o of multihead; else NULL */
  const void *readout_weight;    /* (H,H+M+E)  W_r: it reads [s_t ; c_t ; embedding]. NULL, as the next four, without input_feeding */
  const void *readout_bias;      /* (H)      b_r */
  const void *readout_mask;      /* (B,U,H)  factors of r_t; NULL: 1, and `fed` is `readouts` */
  void *readouts;                /* (B,U,H)  r_t without them. Written by forward, not past lengths[b]; read by backward */
  void *fed;                     /* (B,U,H)  r_t with them, likewise */
  const peephole_decoder_layer *layers; /* (num_layers) */
  void *contexts;                /* (B,U,M)  c_t; 0 past lengths[b]. Written by forward */
  void *sums;                    /* (B,U,H)  the sum of all layers' h_t, likewise; NULL unless residual */
  void *weights;                 /* (B,U,T)  α_t, the mean of all heads; 0 past both lengths. Written by forward; NULL: not
                                    wanted, or no attention */
  void *saved;                   /* peephole_decoder_saved_bytes; as in peephole_lstm */
  void *scratch;                 /* peephole_decoder_scratch_bytes */
} peephole_decoder;

/* Gradients of a layer's arguments, in the shapes of its arrays: all are outputs. */
typedef struct peephole_decoder_layer_gradients {
  void *h0, *c0, *weight_input, *weight_hidden, *bias, *bias_hidden, *weight_peephole, *gain, *cell_gain, *cell_bias;
} peephole_decoder_layer_gradients;

/* Gradients, each in the shape of its array: states, contexts and weights are inputs, readouts both, the others outputs. */
typedef struct peephole_decoder_gradients {
  const void *states;   /* (B,U,H)  of the top layer's h_t, or of the sums if residual; not read past lengths[b] */
  const void *contexts; /* (B,U,M)  likewise */
  const void *weights;  /* (B,U,T)  likewise, nor past source_lengths[b]; NULL: 0 */
  void *embedded;       /* (B,U,E)  0 past lengths[b] */
  void *memory;         /* (B,T,M) or (B,M)  0 past source_lengths[b] */
  void *keys;           /* (B,T,A)  likewise; NULL without attention */
  void *asked;          /* (B,U,A)  0 past lengths[b]; NULL where its array is, as the following */
  void *weight_query;   /* (A,H) */
  void *vector;         /* (A) */
  void *attention_bias; /* (A) */
  void *weight_location; /* (A,C) or (A) */
  void *filters;        /* (C,R) */
  void *weight_output;  /* (M,M) */
  void *readouts;       /* (B,U,H)  of `fed`, without what the next step reads; replaced by that of r_t before the tanh. Not
                           read or written past lengths[b]; NULL, as the next, without input_feeding */
  void *read_embedded;  /* (B,U,E)  of `embedded` by way of r_t, which `embedded` above lacks; likewise */
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
  const void *bias;   /* (O)    b; NULL: 0. Not read by backward */
  void *y;            /* (N,O)  Written by forward; not read by backward */
  void *scratch;      /* peephole_linear_scratch_bytes; temporary */
} peephole_linear;

/* Gradients of a loss, each in the shape of its array: that of y is the input, the others are outputs. */
typedef struct peephole_linear_gradients {
  const void *y; /* (N,O) */
  void *x;       /* (N,K); NULL: not computed */
  void *weight;  /* (O,K) */
  void *bias;    /* (O); NULL: not computed */
} peephole_linear_gradients;

/* loss = -sum over the real rows n of log p(target_n), p = softmax(W r_n + b): (10), (11) and the sum of (12). With
 * label smoothing s the gold distribution is (1 - s) at the target plus s / V everywhere. Scratch holds the logits of a
 * few hundred rows at a time.
 *
 * With `gates` the model copies, (27): p(y) = σ(g_n) p_vocab(y) + (1 - σ(g_n)) (the sum of the weights of row n where
 * `copied` is y), and s weighs -log p(target) against -1/V times the sum of log p_vocab. Row n is step n % U of pair
 * n / U. A target of V or more must be among the `copied` of its pair, or the loss is infinite.
 *
 * With a teacher of weight l, (69), the gold distribution is (1 - l) of that and l times the shares of K symbols at the
 * row's position: those of another model. No copying.
 *
 * With a consistency loss of weight a, row n + N/2 reads the same as row n with other dropout, and has its target. a times half
 * of KL(p_n || p_{n+N/2}) + KL(p_{n+N/2} || p_n) is added for each real row n < N/2, (68). */
typedef struct peephole_output_loss {
  int32_t scalar;  /* 4 float, 8 double */
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
  int32_t threads; /* at least 1; results do not depend on it */
  int64_t rows, hidden_size, symbols; /* N, H, V */
  int64_t steps, source_steps;        /* U, T of a model that copies: N = B U without positions; else not read */
  int64_t padding;        /* the target of padding rows, which are left out of the loss and whose r is not read */
  double label_smoothing; /* s, from 0 to 1 */
  double consistency_loss; /* a, at least 0; 0 with `gates` */
  double teacher_weight;   /* l, from 0 to 1; 0 with `gates` */
  int64_t num_taught;      /* K, at least 1 with a teacher */
  const int32_t *taught_symbols; /* (positions,K)  in [0, V) for real rows; not read without a teacher, nor is the next */
  const float *taught_shares;    /* (positions,K)  at least 0, with sum 1 */
  const int64_t *targets; /* (N)    in [0, V); with `gates` at least 0 */
  const void *readouts;   /* (N,H)  r */
  const void *weight;     /* (V,H)  W */
  const void *bias;       /* (V)    b */
  const void *gates;      /* (N)    g; NULL: no copying, and `weights` and `copied` are not read */
  const int64_t *positions; /* (N)  b U + t of each row, for copying and a teacher; NULL: row n is position n */
  const void *weights;    /* (B U,T)  the weights of attention by position, not read where copied is padding */
  const int64_t *copied;  /* (B,T)  the target symbol that a copy of each source symbol is; padding past its length */
  void *loss;             /* (1)    written */
  void *scratch;          /* peephole_output_loss_scratch_bytes; temporary */
} peephole_output_loss;

/* Gradients of the loss itself, each in the shape of its array. */
typedef struct peephole_output_loss_gradients {
  void *readouts; /* (N,H)  0 in padding rows */
  void *weight;   /* (V,H) */
  void *bias;     /* (V) */
  void *gates;    /* (N); NULL where its array is, as the next */
  void *weights;  /* (B U,T)  of the positions that rows have */
} peephole_output_loss_gradients;

/* The factors of dropout: mask[b][t][u] = 1 / keep_rate where the bits of (b, t, u), as a signed number, are at least
 * `threshold`, else 0. In unsigned arithmetic, with
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
  int64_t place;               /* a number for the run, the training step and the layer */
  const int64_t *examples;     /* (B) */
  const uint32_t *unit_keys;   /* (F)     low 32 bits of m((u + 1) * 0x9E3779B9) */
  float *mask;                 /* (B,T,F) written */
} peephole_dropout_mask;

/* A network in training: weights, gradients, the optimiser's state and all other memory of a step. At most one thread
 * may use it at a time. */
typedef struct peephole_trainer peephole_trainer;

/* Settings that are the same for all steps of a training. */
typedef struct peephole_trainer_settings {
  int32_t scalar;  /* 4 float, 8 double */
  int32_t operand; /* enum peephole_operand; bfloat16 with float only */
  int32_t threads; /* at least 1; results do not depend on it */
  int32_t variational;          /* not 0: dropout drops a unit at all steps of a sequence or at none, (42) */
  int64_t num_source_symbols;   /* at least 1; of networks that read symbols only */
  int64_t num_target_symbols;   /* at least 4 */
  double dropout;               /* from 0, below 1 */
  double label_smoothing;       /* from 0 to 1; not read of targets of vectors */
  double clip_norm;             /* gradients with a larger norm are scaled down to it; 0: never */
  double weight_decay;          /* AdamW's; its β1 is 0.9, β2 0.999, ε 1e-8 */
  double coverage_loss;         /* its weight in the loss of gradients and updates, (23); 0 unless the network has attention and
                                   targets of symbols */
  double consistency_loss;      /* its weight in the loss of gradients and updates, (68): pair b + B/2 of a step is then pair b
                                   again with another number in `examples`; 0 unless targets are symbols, not copied ones */
  double teacher_weight;        /* the share of the gold distribution that a step's `taught_shares` give in gradients and updates,
                                   (69), from 0 to 1; 0 unless targets are symbols, not copied ones */
  double ctc_weight;            /* the share w of CTC in all losses, (33), above 0 to 1; not read without a CTC output */
  int64_t time_masks, time_mask_size;       /* SpecAugment of frames, in gradients and updates: the number of masks and the */
  int64_t feature_masks, feature_mask_size; /* most frames, or numbers of all frames, that one covers. Not read of symbols */
} peephole_trainer_settings;

/* The arrays of a tensor, each of its shape and on 64 bytes. All but the gradients are 0 after peephole_trainer_open; the
 * caller sets the weights, and the average to the same. */
enum peephole_trainer_array {
  PEEPHOLE_WEIGHTS = 0,
  PEEPHOLE_GRADIENTS = 1, /* of the summed loss; written by a step */
  PEEPHOLE_FIRST_MOMENTS = 2,
  PEEPHOLE_SECOND_MOMENTS = 3,
  PEEPHOLE_AVERAGE = 4 /* the moving average of the weights */
};

/* One tensor of a network in training. */
typedef struct peephole_trainer_tensor {
  const char *name; /* as in a model file */
  int64_t num_dimensions; /* 1 or 2 */
  int64_t shape[2];       /* 1 beyond the last dimension */
  void *arrays[5];        /* by enum peephole_trainer_array; NULL for gradients and moments of a constant, such as the mean of
                             frames or of vectors, which no step changes */
} peephole_trainer_tensor;

enum peephole_trainer_task {
  PEEPHOLE_UPDATE = 0,        /* loss, gradients, and a new state of weights, moments and average */
  PEEPHOLE_COMPUTE_GRADIENTS = 1, /* loss and gradients */
  PEEPHOLE_COMPUTE_LOSS = 2,  /* loss alone, without dropout, label smoothing and sampling */
  PEEPHOLE_COMPUTE_AVERAGE_LOSS = 3 /* likewise, of the average's weights */
};

/* One step on B pairs. Symbols are those of a model file; the first target symbol that is read is <s>, and is not given. */
typedef struct peephole_trainer_step {
  int64_t batch, source_steps, target_steps; /* B, T, U; T is not read for a language model, nor are the next two */
  const int64_t *sources;        /* (B,T)  in [0, V) up to each length; not read for a network that reads frames */
  const float *frames;           /* (B,T,F)  of a network that reads frames, else not read; nor is it past each length */
  const int64_t *source_lengths; /* (B)    1 <= length <= T */
  const int64_t *copied;         /* (B,T)  of a model that copies: the target symbol, at least 0, that a copy of each source
                                    symbol is; else not read */
  const int64_t *targets;        /* (B,U)  in [0, V), or if the model copies at least 0: at least one symbol, then <pad>, which
                                    no real symbol is. Not read for a network whose targets are vectors */
  int64_t num_taught;            /* K, at least 1 with a teacher_weight above 0; else not read, nor are the next two */
  const int32_t *taught_symbols; /* (B,U,K)  in [0, V) */
  const float *taught_shares;    /* (B,U,K)  of the symbols: at least 0, with sum 1; not read for <pad> */
  const float *vectors;          /* (B,U,D)  of such a network, else not read. A component that is not finite is missing: it adds
                                    nothing to the loss, and 0, the mean, is fed in its place. Nothing is computed past the
                                    last step with another one, but for the first step */
  const int64_t *examples;       /* (B)    a number of each pair, for dropout and sampling */
  const int64_t *sites;          /* the `place` of peephole_dropout_mask for each site: source embedding and between encoder
                                    layers 1, 2, ... (neither for a language model); target embedding; between decoder
                                    layers 1, 2, ...; readout; choices of sampling; of a network with a CTC output what it
                                    reads; with zoneout of h or c those of h and of c for each layer of the encoder in each
                                    direction, then for each layer of the decoder. Not read by losses alone */
  int64_t time_mask_site, feature_mask_site; /* likewise, of the masks of frames */
  int64_t step;                  /* updates done before: AdamW's t is one more */
  double learning_rate;
  double divisor;                /* above 0: divides the gradients of the summed loss */
  double average_decay;          /* the share of the average that stays, from 0 to 1; 1: the average is not updated */
  double sampling_probability;   /* of feeding the most probable symbol, (14), not the gold one, (13); 0 for targets of
                                    vectors */
  double loss;                   /* written: -sum of log p(y), with label smoothing; with a CTC output (33); of vectors the sum
                                    of the losses of (51)-(55) */
  double gradient_norm;          /* written unless loss alone is computed: of the divided gradients, before clipping */
  double *log_densities;         /* (B)  written unless NULL, for an output of normal distributions only: the logarithm of the
                                    density of each target, (11), in its own units. NULL for all others */
  int32_t updated;               /* written: 0 if nothing was to be updated, or loss or norm are not finite; then weights,
                                    moments and average are those before */
} peephole_trainer_step;

/* A model packed for prediction. Several threads may search with it at the same time. */
typedef struct peephole_model peephole_model;

enum peephole_side { PEEPHOLE_SOURCE = 0, PEEPHOLE_TARGET = 1 };

/* The first symbols of every vocabulary: padding, beginning, end, and unknown. */
enum peephole_symbol { PEEPHOLE_PAD = 0, PEEPHOLE_BOS = 1, PEEPHOLE_EOS = 2, PEEPHOLE_UNK = 3 };

/* Beam search (greedy for a beam of one); sampling; scoring of given targets. */
enum peephole_search_kind { PEEPHOLE_BEAM = 0, PEEPHOLE_SAMPLE = 1, PEEPHOLE_FORCE = 2 };

/* A search for B sources of any lengths. Their symbols, or frames, are stored one after the other: those of source b
 * from source_offsets[b] up to source_offsets[b + 1]. */
typedef struct peephole_request {
  int32_t kind;           /* enum peephole_search_kind */
  int32_t threads;        /* at least 1; results do not depend on it */
  int32_t with_attention; /* 0: results have no attention */
  int64_t num_models;     /* at least 1; the probabilities of several are averaged */
  const peephole_model *const *models;
  int64_t num_guides;            /* language models with the same target symbols, whose weighted log p is added to that of the
                                    models to choose and rank; results report the models' own log p */
  const peephole_model *const *guides;
  const double *guide_weights;   /* (guides)  above 0 */
  int64_t num_sources;           /* B */
  int64_t batch_size;            /* most sources searched at the same time; results do not depend on it */
  double ctc_weight;             /* beam and samples: share of CTC in the score by which targets are chosen, from 0 to 1;
                                    models without CTC have no part in it, and with none attention chooses alone */
  const int64_t *source_offsets; /* (B+1)  from 0, strictly increasing: no source is empty */
  const int32_t *sources;        /* symbols, in [0, V) of the source side; not read by models of frames */
  const int32_t *copies;         /* for models that copy, else not read: the target symbol with the text of each of `sources`.
                                    Of V target symbols, the texts that are none of them are V, V + 1, ..., in the order in
                                    which they first appear in their source; targets may hold them, too */
  const float *frames;           /* for models of frames: peephole_model_frame_size numbers each; offsets count frames. NULL
                                    for other models */
  const int64_t *max_lengths;    /* (B)    maximum symbols of each target, </s> included; not read for given targets */
  const int64_t *target_offsets; /* (B+1)  from 0, not decreasing; NULL: no target prefixes; required for given targets */
  const int32_t *targets;        /* the prefix of each target, shorter than its max_lengths; or the given target. Without
                                    </s>; <pad> and <s> only in given targets */
  int64_t beam_size;             /* beam: K */
  int64_t nbest;                 /* beam: maximum targets for each source, at most K; samples: samples of each source */
  double length_penalty;         /* beam: hypotheses are ranked by log p / length^length_penalty */
  double length_reward;          /* beam: plus length_reward * length; </s> counts */
  double coverage_penalty;       /* beam: plus coverage_penalty times the sum over the places j of the source of
                                    log min(sum over the symbols of attention_j, 1); 0, or a model with attention */
  int64_t diverse_groups;        /* beam: groups of beam_size / diverse_groups hypotheses, which choose in turn in each step
                                    and each return nbest / diverse_groups, rounded up; 0 or 1: one */
  double diversity;              /* beam: an extension is chosen as if its score were lower by this for each extension by the
                                    same symbol that an earlier group of its source chose in the step */
  const int64_t *phrase_offsets; /* (B+1)  beam, one group: the phrases that the targets of source b must contain are those
                                    from phrase_offsets[b] up to phrase_offsets[b + 1]; NULL: none */
  const int64_t *phrase_symbol_offsets; /* (phrases+1)  where the symbols of each phrase begin; none is empty */
  const int32_t *phrases;        /* no special symbols. Those of a source fit into its max_lengths beside its prefix */
  int64_t min_length;            /* beam and samples: least symbols of a target without </s>, which may come earlier where
                                    no other symbol may follow; 0: none */
  int64_t no_repeat_ngram;       /* beam and samples: n, so that no n symbols in a row occur twice in a target; 0: they may.
                                    Prefixes are exempt, but count */
  double temperature;            /* samples: above 0 */
  double top_p;                  /* samples: from the fewest symbols with this total probability; 1: all */
  int64_t top_k;                 /* samples: from this many most probable symbols; 0: all */
  int64_t num_alternatives;      /* given targets: how many of the most probable symbols are returned for each position, at most
                                    V; 0: none */
  const uint64_t *generators;    /* (B,4)  samples: a random number generator for each source, PCG64 as in NumPy: the high
                                    and low halves of its state, then those of its increment, which is odd. Symbol t of
                                    sample s is drawn with its number s * max_lengths[b] + t */
  int32_t (*should_stop)(void *should_stop_context); /* NULL, or called about every 50 ms by the thread that called
                                    peephole_search. If it returns a number other than 0, the search stops soon: it
                                    releases its memory and returns PEEPHOLE_STOPPED. It may run another search */
  void *should_stop_context;
} peephole_request;

/* N targets, in the order of the sources and, for one source, best first (samples: in their order). The result owns all
 * arrays. */
typedef struct peephole_result {
  int64_t num_targets;            /* N */
  const int64_t *source;          /* (N)    index of the source */
  const double *log_probs;        /* (N)    log p(Y|X), (11) */
  const int64_t *offsets;         /* (N+1)  the symbols of target n are those from offsets[n] up to offsets[n + 1] */
  const int32_t *symbols;         /* with </s> where it was predicted */
  const float *symbol_log_probs;  /* log p of each symbol given those before it */
  int64_t num_alternatives;       /* k      that of the request for given targets, else 0 */
  const int32_t *top_symbols;     /* (symbols of all targets, k)  the most probable symbols at each position; NULL for k = 0 */
  const float *top_log_probs;     /* likewise, log p of each */
  const int64_t *attention_offsets; /* (N+1)  target n has U x S weights, (16), with U its symbols without </s> and
                                       S the places of its source: T, fewer if the encoder joins steps */
  const float *attention;         /* NULL if no model has attention, or with_attention is 0 */
} peephole_result;

/* A search that sources join and leave at any step. */
typedef struct peephole_session peephole_session;

/* The N sources that a step of a session has finished. */
typedef struct peephole_answers {
  int64_t num_sources;           /* N */
  const int64_t *tickets;        /* (N) */
  const char *const *errors;     /* (N)    NULL, or one line: why the search for this source failed, and it has no targets */
  const peephole_result *result; /* their targets; `source` counts from 0 to N - 1, and there are no alternatives */
} peephole_answers;

/* What became of a hypothesis that a beam search considered. */
enum peephole_fate {
  PEEPHOLE_EXPANDED = 0,       /* kept in the beam, and extended in the next step */
  PEEPHOLE_RETURNED = 1,       /* finished, and one of the n best */
  PEEPHOLE_BEATEN = 2,         /* finished, but n finished ones are better */
  PEEPHOLE_DUPLICATE = 3,      /* finished, but another group returned the same target */
  PEEPHOLE_OUTSIDE_BEAM = 4,   /* dropped: other extensions of the step are better */
  PEEPHOLE_HOPELESS = 5,       /* kept in the beam, but none of it can exceed the n-th best finished one: the search ended */
  PEEPHOLE_LENGTH_LIMIT = 6,   /* kept in the beam, but as long as a target may be: the search ended */
  PEEPHOLE_UNFINISHED = 7,     /* returned without </s>, because none has finished within the longest length */
  PEEPHOLE_UNPREDICTABLE = 8,  /* forbidden: <pad>, <s> and <unk> are never predicted */
  PEEPHOLE_OTHER_PREFIX = 9,   /* forbidden: the target must begin with another symbol */
  PEEPHOLE_TOO_SHORT = 10,     /* forbidden: </s> before the least length */
  PEEPHOLE_REPEATED_NGRAM = 11, /* forbidden: the hypothesis has this n-gram already */
  PEEPHOLE_PHRASES = 12        /* forbidden: </s> before all phrases have occurred, or no room for them */
};

/* What is traced: a beam search for one source by one model, or a given target. */
typedef struct peephole_trace_request {
  const peephole_request *request; /* one source, one model, no guides; PEEPHOLE_BEAM or PEEPHOLE_FORCE */
  int64_t top;                     /* at least 1: alternatives of each step, and extensions recorded of each hypothesis */
  int64_t bent_step;               /* a step, from 0, with given attention weights; -1: none */
  const float *bent_weights;       /* (S)  at least 0, not all 0; they are divided by their sum */
} peephole_trace_request;

/* A named array; docs/traces.md lists them. */
typedef struct peephole_array {
  const char *name;
  int64_t num_dimensions; /* 1 to 3 */
  int64_t shape[3];       /* 1 beyond the last dimension */
  const float *numbers;
} peephole_array;

/* The best target of U symbols, or the given one, and everything that the model computes for it. The trace owns all
 * arrays. */
typedef struct peephole_trace {
  int64_t num_symbols;         /* U */
  const int32_t *symbols;      /* (U)    with </s> where it was predicted */
  const double *log_probs;     /* (U)    log p of each symbol given those before it */
  const int64_t *ranks;        /* (U)    1 more than the number of symbols with a higher log p */
  int64_t num_alternatives;    /* k      at most `top` */
  const int32_t *top_symbols;  /* (U,k)  the most probable symbols of each step */
  const float *top_log_probs;  /* (U,k) */
  int64_t num_arrays;
  const peephole_array *arrays;
  int64_t num_nodes;           /* N      every hypothesis that the search considered; 0 for a given target. Those of a step
                                         are neighbours: those kept, best first, then the others */
  const int64_t *parents;      /* (N)    the node of the symbol before; -1 for a first symbol */
  const int64_t *steps;        /* (N)    symbols of the hypothesis */
  const int32_t *node_symbols; /* (N) */
  const double *node_log_probs; /* (N)   log p of the symbol */
  const double *scores;        /* (N)    of the whole hypothesis */
  const int32_t *groups;       /* (N) */
  const int32_t *fates;        /* (N)    enum peephole_fate */
} peephole_trace;

/* Targets of real vectors, (51)-(56), drawn for B sources of frames: S for each, of U vectors with D numbers. */
typedef struct peephole_forecast {
  int32_t threads;    /* at least 1; results do not depend on it */
  int64_t num_sources, num_samples, num_steps; /* B, S, U; S and U at least 1 */
  int64_t batch_size; /* most sources read at the same time; results do not depend on it */
  const int64_t *source_offsets; /* (B+1)  as in peephole_request, counting frames */
  const float *frames;  /* peephole_model_frame_size numbers each, all finite */
  const float *noise;   /* (B,S,U,D)  random numbers: standard normal, or for quantiles uniform in [0, 1) */
  float *samples;       /* (B,S,U,D)  written */
  int32_t (*should_stop)(void *should_stop_context); /* as in peephole_request */
  void *should_stop_context;
} peephole_forecast;

/* Return PEEPHOLE_ABI_VERSION of the library. */
PEEPHOLE_API int32_t peephole_abi_version(void);

/* Return the name of the index-th instruction set that this processor can run, best first ("avx512_amx", "avx512_bf16",
 * "avx512", "avx2", "generic"), or NULL. */
PEEPHOLE_API const char *peephole_instruction_set(int32_t index);

/* Return the bytes of `saved`, and of `scratch` for a forward or (backward != 0) a backward call. Only types, sizes, form
 * and threads are read; of a decoder also `attention` and `layers`, whose arrays may be NULL. */
PEEPHOLE_API size_t peephole_lstm_saved_bytes(const peephole_lstm *problem);
PEEPHOLE_API size_t peephole_lstm_scratch_bytes(const peephole_lstm *problem, int32_t backward);

/* Compute (1)-(6) for all steps. Returns PEEPHOLE_OK or PEEPHOLE_NO_INSTRUCTION_SET. */
PEEPHOLE_API enum peephole_status peephole_lstm_forward(const peephole_lstm *problem, const char *instruction_set);

/* Compute all gradients after a forward call with the same problem. Returns as forward. */
PEEPHOLE_API enum peephole_status peephole_lstm_backward(const peephole_lstm *problem, const peephole_lstm_gradients *gradients,
                                            const char *instruction_set);

/* The same for the decoder. */
PEEPHOLE_API size_t peephole_decoder_saved_bytes(const peephole_decoder *problem);
PEEPHOLE_API size_t peephole_decoder_scratch_bytes(const peephole_decoder *problem, int32_t backward);
PEEPHOLE_API enum peephole_status peephole_decoder_forward(const peephole_decoder *problem, const char *instruction_set);
PEEPHOLE_API enum peephole_status peephole_decoder_backward(const peephole_decoder *problem,
                                               const peephole_decoder_gradients *gradients,
                                               const char *instruction_set);

/* Return the bytes of `scratch` for a forward or (backward != 0) a backward call. Only types, sizes and threads are read. */
PEEPHOLE_API size_t peephole_linear_scratch_bytes(const peephole_linear *problem, int32_t backward);

/* Compute y. A row of y does not depend on the other rows, to the bit. Returns as peephole_lstm_forward. */
PEEPHOLE_API enum peephole_status peephole_linear_forward(const peephole_linear *problem, const char *instruction_set);

/* Compute all gradients; needs no forward call. Returns as forward. */
PEEPHOLE_API enum peephole_status peephole_linear_backward(const peephole_linear *problem,
                                              const peephole_linear_gradients *gradients, const char *instruction_set);

/* Return the bytes of `scratch` with (gradients != 0) or without gradients. Only types, sizes and threads are read. */
PEEPHOLE_API size_t peephole_output_loss_scratch_bytes(const peephole_output_loss *problem, int32_t gradients);

/* Compute the loss and, unless `gradients` is NULL, all gradients in the same pass. Returns PEEPHOLE_OK,
 * PEEPHOLE_NO_INSTRUCTION_SET or PEEPHOLE_BAD_TARGET, which leaves all outputs undefined. */
PEEPHOLE_API enum peephole_status peephole_output_loss_run(const peephole_output_loss *problem,
                                              const peephole_output_loss_gradients *gradients,
                                              const char *instruction_set);

/* Write the mask. Returns as peephole_lstm_forward. */
PEEPHOLE_API enum peephole_status peephole_dropout_mask_run(const peephole_dropout_mask *problem, const char *instruction_set);

/* Allocate a network in training. `architecture` is JSON as in a model file. Returns NULL, and one line in `message`, if the
 * engine does not train such a network, a setting is out of range, or memory is missing. instruction_set NULL: the best. */
PEEPHOLE_API peephole_trainer *peephole_trainer_open(const char *architecture, size_t size,
                                                     const peephole_trainer_settings *settings,
                                                     const char *instruction_set, char *message, size_t message_size);
PEEPHOLE_API void peephole_trainer_close(peephole_trainer *trainer);

/* Write to `bytes` the memory that a step of the largest of `count` batches needs beside the tensors, `learns` with its
 * gradients, else for the loss alone. `sizes` (count,3): B, T, U of each, at least 1; no length is shorter than T or U. Nothing
 * of the network is allocated. Returns PEEPHOLE_OK, or PEEPHOLE_REFUSED with a message as peephole_trainer_open. */
PEEPHOLE_API enum peephole_status peephole_trainer_step_bytes(const char *architecture, size_t size,
                                                              const peephole_trainer_settings *settings,
                                                              const int64_t *sizes, int64_t count, int32_t learns,
                                                              size_t *bytes, char *message, size_t message_size);

/* Write the index-th tensor, in the order of a network's state_dict, to `tensor`; return 0 if there is none. */
PEEPHOLE_API int32_t peephole_trainer_describe(const peephole_trainer *trainer, int64_t index,
                                               peephole_trainer_tensor *tensor);

/* Do a task (enum peephole_trainer_task). Returns PEEPHOLE_OK, or PEEPHOLE_REFUSED with one line in `message`: an argument is
 * invalid or memory is missing, and nothing was changed. Memory grows to that of the largest batch, and is then kept. */
PEEPHOLE_API enum peephole_status peephole_trainer_run(peephole_trainer *trainer, int32_t task, peephole_trainer_step *step,
                                                       char *message, size_t message_size);

/* Read a model file from memory (read or mapped), check all of it, and pack its weights; the caller may free the memory
 * afterwards. Returns NULL if it is not a whole model file, the instruction set (NULL: the best) is unknown, or an
 * allocation fails, and writes one line of at most message_size - 1 bytes to `message`. */
PEEPHOLE_API peephole_model *peephole_model_open(const void *file, size_t size, const char *instruction_set, char *message,
                                                 size_t message_size);
PEEPHOLE_API void peephole_model_close(peephole_model *model);

/* Return F, the numbers in a frame of the source, or 0 for a model whose sources are symbols. */
PEEPHOLE_API int64_t peephole_model_frame_size(const peephole_model *model);

/* Return whether a model copies symbols of its source; its requests need `copies`. */
PEEPHOLE_API int32_t peephole_model_copies(const peephole_model *model);

/* Return D, the numbers in a vector of the target, or 0 for a model whose targets are symbols. */
PEEPHOLE_API int64_t peephole_model_vector_size(const peephole_model *model);

/* Return the number of places S that a model attends to in a source of T symbols or frames. */
PEEPHOLE_API int64_t peephole_model_places(const peephole_model *model, int64_t length);

/* Return the number of symbols V of a side; the text of a symbol in UTF-8, or NULL; the symbol of a text, or PEEPHOLE_UNK.
 * No text gives symbols 0 to 3. A side that is not in enum peephole_side has no symbols. */
PEEPHOLE_API int64_t peephole_model_num_symbols(const peephole_model *model, int32_t side);
PEEPHOLE_API const char *peephole_model_symbol_text(const peephole_model *model, int32_t side, int64_t symbol);
PEEPHOLE_API int32_t peephole_model_find_symbol(const peephole_model *model, int32_t side, const char *text, size_t size);

/* Search. Returns PEEPHOLE_OK and a result, which the caller must release; or, with a message as peephole_model_open,
 * PEEPHOLE_REFUSED if the request is invalid, a model gives no symbol a probability, or an allocation fails, and
 * PEEPHOLE_STOPPED if should_stop has stopped it. Memory grows with what is found, not with max_lengths. */
PEEPHOLE_API enum peephole_status peephole_search(const peephole_request *request, peephole_result **result, char *message,
                                     size_t message_size);
PEEPHOLE_API void peephole_result_release(peephole_result *result);

/* Open a search that sources join and leave at any step. Its models are closed after it. `places`: most rows of the sources
 * that are searched at the same time; a source takes one for each hypothesis (beam_size, for samples nbest, for a given target
 * 1). `threads`: of a step; results do not depend on them. Returns NULL and a message as peephole_model_open.
 *
 * Any thread may call the functions of a session; only peephole_session_step takes long, and only another call of it waits. */
PEEPHOLE_API peephole_session *peephole_session_open(const peephole_model *const *models, int64_t num_models, int32_t threads,
                                                     int64_t places, char *message, size_t message_size);
PEEPHOLE_API void peephole_session_close(peephole_session *session);

/* Add the only source of a request for the models of the session, which finds what peephole_search finds for it, to the bit.
 * `ticket`: a number that no other source in the session has. The arrays are copied; guides must live until the source is
 * answered, or a step after it was cancelled has ended. threads, batch_size and should_stop are not used. Returns PEEPHOLE_OK,
 * or PEEPHOLE_REFUSED with a message: the request is invalid, needs more than all places, or an allocation fails. */
PEEPHOLE_API enum peephole_status peephole_session_add(peephole_session *session, int64_t ticket, const peephole_request *request,
                                                       char *message, size_t message_size);

/* Read waiting sources in their order where there are places, and extend all hypotheses by one symbol. Returns PEEPHOLE_OK and
 * the sources that are finished, which the caller must release, or PEEPHOLE_REFUSED with a message if an allocation fails.
 * Memory grows to that of the longest sources and targets in all places, and is then kept. */
PEEPHOLE_API enum peephole_status peephole_session_step(peephole_session *session, peephole_answers **answers, char *message,
                                                        size_t message_size);
PEEPHOLE_API void peephole_answers_release(peephole_answers *answers);

/* Remove a source, which is then not answered; its places are free at once. Returns whether it was there. */
PEEPHOLE_API int32_t peephole_session_cancel(peephole_session *session, int64_t ticket);

/* Count the sources that are searched, those that wait, and the free places. */
PEEPHOLE_API void peephole_session_count(const peephole_session *session, int64_t *active, int64_t *waiting,
                                         int64_t *free_places);

/* Search, or feed the given target, as peephole_search does on one thread, and return everything of the best target. Returns
 * as peephole_search; the caller must release the trace. */
PEEPHOLE_API enum peephole_status peephole_trace_make(const peephole_trace_request *request, peephole_trace **trace, char *message,
                                                      size_t message_size);
PEEPHOLE_API void peephole_trace_release(peephole_trace *trace);

/* Draw targets of real vectors. Returns PEEPHOLE_OK; or, with a message as peephole_model_open, PEEPHOLE_REFUSED if the
 * request is invalid or an allocation fails, and PEEPHOLE_STOPPED if should_stop has stopped it: samples are undefined. */
PEEPHOLE_API enum peephole_status peephole_draw(const peephole_model *model, const peephole_forecast *request,
                                                char *message, size_t message_size);

/* Apply σ or tanh, as computed in the cell, to n numbers; for tests of their accuracy. Returns as forward. */
PEEPHOLE_API enum peephole_status peephole_activation(int32_t function, int32_t scalar, int64_t n, const void *in, void *out,
                                         const char *instruction_set);

/* Compute `repeats` matrix products that fit the first cache, on one thread, to measure the processor's peak. Returns the
 * number of floating point operations, or -1 if the instruction set is unknown. */
PEEPHOLE_API int64_t peephole_peak(int64_t repeats, int32_t scalar, const char *instruction_set);

#ifdef __cplusplus
}
#endif

#endif
