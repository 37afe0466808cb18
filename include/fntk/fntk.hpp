// Everything: data → Network → Tangent → Gram or operator → spectrum, regression, training.
#pragma once

#include <fntk/device.hpp>
#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/estimate.hpp>
#include <fntk/factors.hpp>
#include <fntk/gram_file.hpp>
#include <fntk/io.hpp>
#include <fntk/kernel.hpp>
#include <fntk/kernel_descent.hpp>
#include <fntk/kernel_function.hpp>
#include <fntk/kernel_model.hpp>
#include <fntk/limit.hpp>
#include <fntk/matrix.hpp>
#include <fntk/network.hpp>
#include <fntk/plan.hpp>
#include <fntk/planner.hpp>
#include <fntk/regression.hpp>
#include <fntk/solver.hpp>
#include <fntk/spectrum.hpp>
#include <fntk/spectrum_plan.hpp>
#include <fntk/tangent.hpp>
#include <fntk/training.hpp>
#include <fntk/version.hpp>
