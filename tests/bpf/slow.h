/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Programs that read rows so slowly that these are replaced meanwhile; see services.h. */
#include "kernel.h"

static long __attribute__((unused)) pause_step(__u32 step, void *nothing)
{
	bpf_ktime_get_ns();
	return 0;
}

#define PL_PAUSE(try)                                                                                                  \
	do {                                                                                                           \
		if (try == 0)                                                                                          \
			bpf_loop(200, pause_step, 0, 0);                                                               \
	} while (0)
