#pragma once
namespace fntk::backend::cuda {
const void* wide_wgmma_entry(int columns);
}
