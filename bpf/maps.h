/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The maps that both levels read: an object that includes this is loaded onto all of them.
 *
 * Their sizes here serve whoever loads an object by itself; the pinned maps that it is normally loaded onto have theirs.
 */
#ifndef PLUMBLINE_MAPS_H
#define PLUMBLINE_MAPS_H

#include "kernel.h"
#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pl_front);
	__type(value, struct pl_service);
} pl_front_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct pl_slot);
	__type(value, struct pl_backend);
} pl_back_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32); /* id of a list */
	__type(value, struct pl_count);
} pl_count_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PL_DROP_REASONS);
	__type(key, __u32); /* enum pl_drop */
	__type(value, __u64);
} pl_drop_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pl_client);
	__type(value, struct pl_stay);
} pl_affin_1 SEC(".maps");

#endif
