/* Predict with a model file and libpeephole, without Python.
 *
 *     cc -O2 -I ../../engine/include predict.c -o predict -L FOLDER_OF_LIBPEEPHOLE -lpeephole
 *     ./predict model.safetensors < sources.txt
 *
 * The program reads sources from stdin, one a line, and prints the symbols of each source's best target, separated by
 * spaces. It splits a source into symbols by repeatedly taking the longest symbol of the model at the current position,
 * which is right for `characters` models and text in NFC. For models with other kinds of symbols (whitespace, subwords),
 * split the text as in training and look up each symbol. Ctrl-C ends a long search at once, its memory released. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peephole.h"

enum { BEAM_SIZE = 5, MOST_SYMBOLS = 4096, LONGEST_SYMBOL = 64 };

static volatile sig_atomic_t interrupted = 0;

static void note_interrupt(int number) {
  (void)number;
  interrupted = 1;
}

/* The search calls this function now and then. */
static int32_t should_stop(void *context) {
  (void)context;
  return interrupted;
}

static void fail(const char *what, const char *message) {
  fprintf(stderr, "predict: %s: %s\n", what, message);
  exit(1);
}

/* Read a whole file; the caller frees it. */
static void *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path, "cannot be opened");
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  void *content = malloc(*size + 1);
  if (!content || fread(content, 1, *size, file) != *size) fail(path, "cannot be read");
  fclose(file);
  return content;
}

/* Split a line into symbols; each unknown character becomes <unk>. */
static int64_t encode(const peephole_model *model, const char *line, int32_t *symbols) {
  int64_t count = 0;
  size_t left = strlen(line);
  while (left > 0 && count < MOST_SYMBOLS) {
    size_t size = left < LONGEST_SYMBOL ? left : LONGEST_SYMBOL;
    int32_t symbol = PEEPHOLE_UNK;
    for (; size > 0; --size) {
      symbol = peephole_model_find_symbol(model, PEEPHOLE_SOURCE, line, size);
      if (symbol != PEEPHOLE_UNK) break;
    }
    if (size == 0)
      for (size = 1; size < left && (line[size] & 0xC0) == 0x80;) ++size; /* to the end of the character in UTF-8 */
    symbols[count++] = symbol;
    line += size;
    left -= size;
  }
  return count;
}

static void predict(const peephole_model *model, const char *line) {
  int32_t symbols[MOST_SYMBOLS];
  int64_t offsets[2] = {0, encode(model, line, symbols)};
  int64_t max_length = 3 * offsets[1] + 20;
  if (offsets[1] == 0) { /* the target of an empty source is empty */
    puts("");
    return;
  }
  peephole_request request = {
      .kind = PEEPHOLE_BEAM,
      .threads = 1,
      .num_models = 1,
      .models = &model,
      .num_sources = 1,
      .batch_size = 1,
      .source_offsets = offsets,
      .sources = symbols,
      .max_lengths = &max_length,
      .beam_size = BEAM_SIZE,
      .nbest = 1,
      .should_stop = should_stop,
  };
  peephole_result *result;
  char message[1000];
  if (peephole_search(&request, &result, message, sizeof message)) fail(line, message); /* or PEEPHOLE_STOPPED */
  for (int64_t i = result->offsets[0]; i < result->offsets[1]; ++i)
    if (result->symbols[i] != PEEPHOLE_EOS)
      printf("%s%s", i > result->offsets[0] ? " " : "",
             peephole_model_symbol_text(model, PEEPHOLE_TARGET, result->symbols[i]));
  putchar('\n');
  peephole_result_release(result);
}

int main(int count, char **arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: predict MODEL < sources\n");
    return 2;
  }
  size_t size;
  char message[1000];
  void *file = read_file(arguments[1], &size);
  peephole_model *model = peephole_model_open(file, size, NULL, message, sizeof message);
  free(file);
  if (!model) fail(arguments[1], message);
  if (peephole_model_frame_size(model)) fail(arguments[1], "wanted a model that reads text and does not copy, got one that reads frames");
  if (peephole_model_copies(model)) fail(arguments[1], "wanted a model that reads text and does not copy, got one that copies");
  signal(SIGINT, note_interrupt);
  char line[16 * MOST_SYMBOLS];
  while (!interrupted && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\r\n")] = '\0';
    predict(model, line);
  }
  peephole_model_close(model);
  return interrupted ? 130 : 0;
}
