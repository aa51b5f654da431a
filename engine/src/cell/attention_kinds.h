// The kinds of attention.
#pragma once

#include "cell/attention_additive.h"
#include "cell/attention_fixed.h"
#include "cell/attention_located_training.h"
#include "cell/attention_location.h"
#include "cell/attention_multihead.h"
#include "cell/attention_product.h"

namespace {

// Training: calls body with a value of the kind's type, given its number in enum peephole_attention.
template <class Body>
auto with_attention(int32_t attention, Body body) {
  switch (attention) {
    case PEEPHOLE_ADDITIVE: return body(AdditiveAttention());
    case PEEPHOLE_PRODUCT: return body(ProductAttention());
    case PEEPHOLE_LOCATION: return body(LocationTraining());
    case PEEPHOLE_COVERAGE: return body(CoverageTraining());
    case PEEPHOLE_MULTIHEAD: return body(MultiheadTraining());
    default: return body(FixedContext());
  }
}

// Prediction: the packed weights of the model's attention.
inline const PackedAttention *pack_attention(const NumberFormat &format, const peephole::NetworkView &view) {
  using peephole::Alignment;
  if (view.context != peephole::Context::kAttention) return new PackedFixed(format, view);
  switch (view.attention) {
    case Alignment::kAdditive: break;
    case Alignment::kDot:
    case Alignment::kGeneral: return new PackedProduct(format, view);
    case Alignment::kLocation: return new PackedLocation(format, view);
    case Alignment::kCoverage: return new PackedCoverage(format, view);
    case Alignment::kMultihead: return new PackedMultihead(format, view);
  }
  return new PackedAdditive(format, view);
}

}  // namespace
