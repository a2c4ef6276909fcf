// Products of a few matrix rows with panels of weights.
//
// For each k in turn, a panel holds a few adjacent vectors of columns, so that a tile of rows x
// panel stays in registers while k runs. Each number is summed in the order of k, whatever the
// tile, so a row's result depends neither on its neighbours nor on the number of threads.

#pragma once

#include "vector.h"

namespace seqmask::SEQMASK_TARGET {

// A strided matrix: element k of row r is at[r * row + k * step].
struct Matrix {
  const float* at;
  int64_t row, step;
};

// Strided results: vector v of row r starts at at[r * row + v * step].
struct Sums {
  float* at;
  int64_t row, step;
};

constexpr int kPanelVectors = 4;     // in a panel whose columns are not tied to gates

// Rows of a tile: as many as leave registers for the panel and one element of a row.
constexpr int TileRows(int vectors) {
  const int rows = (kRegisters == 32 ? 24 : 12) / vectors;
  return rows < 12 ? rows : 12;
}

// sums[r][v] += sum over k < depth of a[r][k] panel[k][v]
template <int kRows, int kVectors>
inline void Tile(Matrix a, int64_t depth, const float* panel, int64_t panel_step, Sums sums) {
  Vector sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Load(sums.at + r * sums.row + v * sums.step);
  for (int64_t k = 0; k < depth; ++k) {
    Vector b[kVectors];
    for (int v = 0; v < kVectors; ++v) b[v] = Load(panel + v * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const float number = a.at[r * a.row];
      for (int v = 0; v < kVectors; ++v) sum[r][v] += number * b[v];
    }
    a.at += a.step;
    panel += panel_step;
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) Store(sums.at + r * sums.row + v * sums.step, sum[r][v]);
}

template <int kRows, int kVectors>
inline void TileOf(int64_t rows, Matrix a, int64_t depth, const float* panel, int64_t panel_step,
                   Sums sums) {
  if constexpr (kRows > 0) {
    if (rows == kRows) {
      // One of the two strides is 1; as a constant it saves a register for addresses.
      if (a.step == 1)
        return Tile<kRows, kVectors>({a.at, a.row, 1}, depth, panel, panel_step, sums);
      return Tile<kRows, kVectors>({a.at, 1, a.step}, depth, panel, panel_step, sums);
    }
    TileOf<kRows - 1, kVectors>(rows, a, depth, panel, panel_step, sums);
  }
}

// The product of any number of rows, in tiles of nearly equal size: a tile of one row is slow.
template <int kVectors>
inline void Product(int64_t rows, Matrix a, int64_t depth, const float* panel, int64_t panel_step,
                    Sums sums) {
  constexpr int kMost = TileRows(kVectors);
  for (int64_t tiles = (rows + kMost - 1) / kMost; tiles > 0; --tiles) {
    const int64_t here = rows / tiles;
    TileOf<kMost, kVectors>(here, a, depth, panel, panel_step, sums);
    rows -= here;
    a.at += here * a.row;
    sums.at += here * sums.row;
  }
}

// The same for 1 to 4 vectors, a number known only at run time.
inline void Multiply(int64_t vectors, int64_t rows, Matrix a, int64_t depth, const float* panel,
                     int64_t panel_step, Sums sums) {
  if (vectors == 1) return Product<1>(rows, a, depth, panel, panel_step, sums);
  if (vectors == 3) return Product<3>(rows, a, depth, panel, panel_step, sums);
  if (vectors == 4 && kRegisters == 32)
    return Product<4>(rows, a, depth, panel, panel_step, sums);
  Product<2>(rows, a, depth, panel, panel_step, sums);
  if (vectors == 4)
    Product<2>(rows, a, depth, panel + 2 * kWidth, panel_step,
               {sums.at + 2 * sums.step, sums.row, sums.step});
}

// sums += a b, where b has `columns` columns, whole vectors, packed into panels of kPanelVectors.
inline void MultiplyPanels(int64_t rows, Matrix a, int64_t depth, const float* panels,
                           int64_t columns, float* sums, int64_t sums_row) {
  for (int64_t k = 0; k < columns; k += kPanelVectors * kWidth) {
    const int64_t rest = (columns - k) / kWidth;
    const int64_t vectors = rest < kPanelVectors ? rest : kPanelVectors;
    Multiply(vectors, rows, a, depth, panels + k * depth, vectors * kWidth,
             {sums + k, sums_row, kWidth});
  }
}

}  // namespace seqmask::SEQMASK_TARGET
