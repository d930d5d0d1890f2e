/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Choosing a backend, and counting: the same at both levels.
 *
 * Values of maps are copied to the stack before anything is done with them: compilers move arithmetic on a pointer
 * above the check that it is no null pointer, which the verifier refuses.
 */
#ifndef PLUMBLINE_SERVICES_H
#define PLUMBLINE_SERVICES_H

#include "maps.h"

/* Four words in network order. Arrays and memcmp of the compiler's own choice would need maps and functions of theirs. */
struct pl_words {
	__be32 word[4];
};

static __always_inline struct pl_words pl_words(const struct pl_addr *addr)
{
	struct pl_words words;

	__builtin_memcpy(&words, addr->bytes, sizeof(words));
	return words;
}

static __always_inline bool pl_same_addr(const struct pl_addr *one, const struct pl_addr *other)
{
	struct pl_words a = pl_words(one), b = pl_words(other);

	return !((a.word[0] ^ b.word[0]) | (a.word[1] ^ b.word[1]) | (a.word[2] ^ b.word[2]) | (a.word[3] ^ b.word[3]));
}

static __always_inline bool pl_is_ipv4(const struct pl_addr *addr)
{
	struct pl_words words = pl_words(addr);

	return !(words.word[0] | words.word[1] | (words.word[2] ^ bpf_htonl(0xffff)));
}

static __always_inline bool pl_is_loopback(const struct pl_addr *addr)
{
	struct pl_words words = pl_words(addr);

	if (pl_is_ipv4(addr))
		return addr->bytes[12] == 127;
	return !(words.word[0] | words.word[1] | words.word[2] | (words.word[3] ^ bpf_htonl(1)));
}

static __always_inline void pl_set_ipv4(struct pl_addr *addr, __be32 ip)
{
	__builtin_memset(addr->bytes, 0, 10);
	addr->bytes[10] = 0xff;
	addr->bytes[11] = 0xff;
	__builtin_memcpy(addr->bytes + 12, &ip, sizeof(ip));
}

static __always_inline __be32 pl_ipv4(const struct pl_addr *addr)
{
	__be32 ip;

	__builtin_memcpy(&ip, addr->bytes + 12, sizeof(ip));
	return ip;
}

/* One more that went nowhere. */
static __always_inline void pl_drop(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&pl_drop_1, &reason);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Atomic although each CPU has its own: a packet may interrupt a process in the middle of it. */
static __always_inline void pl_count(__u32 id, __u64 connections, __u64 packets, __u64 bytes)
{
	struct pl_count *count = bpf_map_lookup_elem(&pl_count_1, &id);

	if (!count) {
		struct pl_count none = {};

		bpf_map_update_elem(&pl_count_1, &id, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&pl_count_1, &id);
		if (!count)
			return; /* full: what is not counted works all the same */
	}
	if (connections)
		__sync_fetch_and_add(&count->connections, connections);
	if (packets)
		__sync_fetch_and_add(&count->packets, packets);
	if (bytes)
		__sync_fetch_and_add(&count->bytes, bytes);
}

/*
 * Reading rows. An element of a hash that is replaced or removed is given to another key at once, while whoever has
 * looked it up may still be copying: what was copied counts only if the element is still the one of this key, and still
 * says the same. A row that changes quicker than it is read, several times in a row, is read as it comes.
 */
#define PL_TRIES 5

#ifndef PL_PAUSE
#define PL_PAUSE(try) /* where tests wait, for the row to be replaced meanwhile */
#endif

static __always_inline bool pl_same(const void *one, const void *other, __u32 size)
{
	const __u32 *a = one, *b = other;
	__u32 differs = 0;

#pragma unroll
	for (__u32 word = 0; word < size / sizeof(*a); word++)
		differs |= a[word] ^ b[word];
	return differs == 0;
}

/* False: no service is reached there. */
static __noinline bool pl_find(const struct pl_front *front, struct pl_service *service)
{
	const struct pl_service *found = bpf_map_lookup_elem(&pl_front_1, front), *before;

	__builtin_memset(service, 0, sizeof(*service)); /* else compilers carry along what was never set */
#pragma clang loop unroll(disable)
	for (int try = 0; try < PL_TRIES && found; try++) {
		PL_PAUSE(try);
		*service = *found;
		before = found;
		found = bpf_map_lookup_elem(&pl_front_1, front);
		if (found == before && pl_same(found, service, sizeof(*service)))
			break;
	}
	return found;
}

static __noinline bool pl_backend_at(__u32 id, __u32 slot, struct pl_backend *backend)
{
	struct pl_slot key = { .id = id, .slot = slot };
	const struct pl_backend *found = bpf_map_lookup_elem(&pl_back_1, &key), *before;

	__builtin_memset(backend, 0, sizeof(*backend));
#pragma clang loop unroll(disable)
	for (int try = 0; try < PL_TRIES && found; try++) {
		PL_PAUSE(try);
		*backend = *found;
		before = found;
		found = bpf_map_lookup_elem(&pl_back_1, &key);
		if (found == before && pl_same(found, backend, sizeof(*backend)))
			break;
	}
	return found;
}

struct pl_search {
	__u32 id;
	bool found;
	struct pl_chosen chosen;
};

static __always_inline bool pl_stands_at(__u32 id, __u32 slot, struct pl_backend *wanted)
{
	struct pl_backend backend;

	if (!pl_backend_at(id, slot, &backend) || backend.port != wanted->port || !pl_same_addr(&backend.addr, &wanted->addr))
		return false;
	wanted->flags = backend.flags;
	return true;
}

static long pl_search_slot(__u32 slot, struct pl_search *search)
{
	search->found = pl_stands_at(search->id, slot, &search->chosen.backend);
	if (search->found)
		search->chosen.slot = slot;
	return search->found;
}

/*
 * Whether a backend that was chosen earlier is still one of the list; its slot becomes the one where it stands now.
 * The whole list is searched only after it has moved or gone, which its removal or another one's has caused.
 */
static __always_inline bool pl_still(const struct pl_service *service, struct pl_chosen *chosen)
{
	struct pl_search search = { .id = service->id, .chosen = *chosen };

	if (chosen->slot < service->count && pl_stands_at(service->id, chosen->slot, &chosen->backend))
		return true;
	bpf_loop(service->count, pl_search_slot, &search, 0);
	if (search.found)
		*chosen = search.chosen;
	return search.found;
}

/*
 * Any backend, by a number that the caller draws. A slot can be empty while the list is getting shorter, between
 * reading the service and reading the slot: slot 0 is the last one to go.
 */
static __always_inline bool pl_any(const struct pl_service *service, __u32 number, struct pl_chosen *chosen)
{
	if (service->count == 0)
		return false;
	chosen->slot = number % service->count;
	if (pl_backend_at(service->id, chosen->slot, &chosen->backend))
		return true;
	chosen->slot = 0;
	return pl_backend_at(service->id, 0, &chosen->backend);
}

/* Whether a client can stay with the backend that is known of it; that it connects once more is noted. */
static __always_inline bool pl_stays(const struct pl_service *service, struct pl_stay *known, struct pl_chosen *chosen)
{
	struct pl_stay stay = *known;
	__u64 now = bpf_ktime_get_ns();

	if (now - stay.since >= service->affinity * NANOSECONDS || !pl_still(service, &stay.chosen))
		return false;
	known->since = now;
	known->chosen.slot = stay.chosen.slot;
	*chosen = stay.chosen;
	return true;
}

/*
 * A backend for a new connection of a client: the one that it stays with, else any. False: there is none.
 * Of two first connections at once, both get the backend of the one that stored it. One that cannot be stored
 * is made all the same: it is affinity that is lost, not service.
 */
static __always_inline bool pl_choose(const struct pl_service *service, __u32 number, struct pl_client *client,
				      struct pl_chosen *chosen)
{
	struct pl_stay stay = {}, *known;

	if (service->affinity == 0)
		return pl_any(service, number, chosen);
	client->id = service->id;
	known = bpf_map_lookup_elem(&pl_affin_1, client);
	if (known) {
		if (pl_stays(service, known, chosen))
			return true;
		bpf_map_delete_elem(&pl_affin_1, client);
	}
	if (!pl_any(service, number, chosen))
		return false;
	stay.since = bpf_ktime_get_ns();
	stay.chosen = *chosen;
	if (bpf_map_update_elem(&pl_affin_1, client, &stay, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&pl_affin_1, client);
		if (known)
			pl_stays(service, known, chosen);
	}
	return true;
}

#endif
