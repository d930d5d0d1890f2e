/* Programs that do nothing but use maps: for tests of what loads, pins and attaches them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} pl_j_1 SEC(".maps");

struct pair {
	__u32 numbers[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u64);
	__type(value, struct pair);
} pl_a_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 12);
} pl_unused_1 SEC(".maps");

static __noinline struct pair *first(void)
{
	__u64 key = FLAVOUR; /* makes other code of it */

	return bpf_map_lookup_elem(&pl_a_1, &key);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	bpf_tail_call(ctx, &pl_j_1, 0);
	return first() ? 1 : 1;
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	return first() ? -1 : -1;
}

SEC("tc")
int egress(struct __sk_buff *skb)
{
	return first() ? -1 : -1;
}

char LICENSE[] SEC("license") = "GPL";
