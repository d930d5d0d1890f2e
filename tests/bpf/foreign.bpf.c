/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Somebody else's program on a hook of ours: it counts who passes, and lets nobody connect to one port. */
#include "kernel.h"

#define FORBIDDEN 9999

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} passed SEC(".maps");

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&passed, &first);

	if (count)
		__sync_fetch_and_add(count, 1);
	return ctx->user_port != bpf_htons(FORBIDDEN);
}

char LICENSE[] SEC("license") = "GPL";
