/* SPDX-License-Identifier: MIT */
/* The same model, with bytes on both sides of what one page of entries speaks for. */
#include "stage_far.h"
#include "test_stage_model.c"
