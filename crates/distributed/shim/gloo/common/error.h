// Included by c10d's header, which uses nothing of it. See ../rendezvous/store.h.
#pragma once
