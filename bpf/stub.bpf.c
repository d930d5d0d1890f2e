/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What is attached, once and for good: each goes on in whatever program stands in its hook's array.
 *
 * So a program is replaced by one write to a map, and no attachment is ever touched. With nothing in the array a socket
 * and a packet go on as if nothing of ours were there. An array for each hook of sockets and one for tc: the kernel
 * lets an array hold programs of one attach type only.
 */
#include "kernel.h"
#include "layout.h"

#define ARRAY(name, slots)                                                                                             \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, slots);                                                                            \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} name SEC(".maps")

#define SOCKET_HOOK(hook, array)                                                                                       \
	ARRAY(array, 1);                                                                                               \
	SEC("cgroup/" #hook) int hook(struct bpf_sock_addr *ctx)                                                       \
	{                                                                                                              \
		bpf_tail_call(ctx, &array, 0);                                                                         \
		return 1;                                                                                              \
	}

SOCKET_HOOK(connect4, pl_j_con4_1)
SOCKET_HOOK(connect6, pl_j_con6_1)
SOCKET_HOOK(sendmsg4, pl_j_snd4_1)
SOCKET_HOOK(sendmsg6, pl_j_snd6_1)
SOCKET_HOOK(recvmsg4, pl_j_rcv4_1)
SOCKET_HOOK(recvmsg6, pl_j_rcv6_1)
SOCKET_HOOK(getpeername4, pl_j_peer4_1)
SOCKET_HOOK(getpeername6, pl_j_peer6_1)

ARRAY(pl_j_tc_1, PL_SLOTS);

SEC("tc") int ingress(struct __sk_buff *packet)
{
	bpf_tail_call(packet, &pl_j_tc_1, PL_SLOT_INGRESS);
	return TC_ACT_UNSPEC; /* the filters after ours decide */
}

SEC("tc") int egress(struct __sk_buff *packet)
{
	bpf_tail_call(packet, &pl_j_tc_1, PL_SLOT_EGRESS);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
