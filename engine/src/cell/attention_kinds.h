// The kinds of attention.
#pragma once

#include "cell/attention_additive.h"
#include "cell/attention_fixed.h"
#include "cell/attention_product.h"

namespace {

// Calls body with a value of the kind's type, given its number in enum peephole_attention.
template <class Body>
auto with_attention(int32_t attention, Body body) {
  switch (attention) {
    case PEEPHOLE_ADDITIVE: return body(AdditiveAttention());
    case PEEPHOLE_PRODUCT: return body(ProductAttention());
    default: return body(FixedContext());
  }
}

}  // namespace
