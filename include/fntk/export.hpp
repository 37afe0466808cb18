// FNTK_API marks what a shared library exports; everything else stays hidden.
#pragma once

#define FNTK_API __attribute__((visibility("default")))
