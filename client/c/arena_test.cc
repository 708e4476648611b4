#include "client/c/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace {

class ArenaTest : public ::testing::Test {
 protected:
  ArenaTest() { mg_arena_reset(arena_.get()); }
  mg_arena* arena() { return arena_.get(); }

 private:
  std::unique_ptr<mg_arena> arena_ = std::make_unique<mg_arena>();
};

TEST_F(ArenaTest, MemoryIsAlignedAndDistinct) {
  char* first = static_cast<char*>(mg_arena_malloc(arena(), 1));
  char* second = static_cast<char*>(mg_arena_malloc(arena(), 1));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 16, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % 16, 0u);
  EXPECT_NE(first, second);
  EXPECT_NE(mg_arena_malloc(arena(), 0), nullptr);
}

TEST_F(ArenaTest, WhatIsFreedIsUsedAgain) {
  for (int i = 0; i < 100000; ++i) {
    void* memory = mg_arena_malloc(arena(), 1000);
    ASSERT_NE(memory, nullptr) << i;
    mg_arena_free(arena(), memory);
  }
  mg_arena_free(arena(), nullptr);
}

TEST_F(ArenaTest, ExhaustionIsNullAndAResetHeals) {
  int got = 0;
  while (mg_arena_malloc(arena(), 1000) != nullptr) ++got;
  EXPECT_EQ(got, MG_ARENA_BYTES / 1024);
  mg_arena_reset(arena());
  EXPECT_NE(mg_arena_malloc(arena(), 1000), nullptr);
}

TEST_F(ArenaTest, SizesThatCannotBeAreNull) {
  EXPECT_NE(mg_arena_malloc(arena(), 65536 - 16), nullptr);
  EXPECT_EQ(mg_arena_malloc(arena(), 65536 - 15), nullptr);
  EXPECT_EQ(mg_arena_malloc(arena(), SIZE_MAX), nullptr);
  EXPECT_EQ(mg_arena_calloc(arena(), SIZE_MAX / 2, 4), nullptr);
}

TEST_F(ArenaTest, CallocClearsWhatWasUsedBefore) {
  void* memory = mg_arena_malloc(arena(), 100);
  std::memset(memory, 7, 100);
  mg_arena_free(arena(), memory);
  const auto* clear = static_cast<const char*>(mg_arena_calloc(arena(), 10, 10));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(clear[i], 0) << i;
}

TEST_F(ArenaTest, ReallocKeepsTheContents) {
  auto* memory = static_cast<char*>(mg_arena_realloc(arena(), nullptr, 10));
  std::memcpy(memory, "keep me", sizeof("keep me"));
  for (const std::size_t size : {100u, 1000u, 30000u, 5u}) {
    memory = static_cast<char*>(mg_arena_realloc(arena(), memory, size));
    ASSERT_NE(memory, nullptr);
    EXPECT_STREQ(memory, "keep me");
  }
  EXPECT_EQ(mg_arena_realloc(arena(), memory, 100000), nullptr);
  EXPECT_STREQ(memory, "keep me");
}

TEST_F(ArenaTest, NoTwoAllocationsOverlap) {
  struct Allocation {
    unsigned char* memory;
    std::size_t size;
    unsigned char mark;
  };
  std::vector<Allocation> live;
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const std::size_t size = random() % 2000;
      auto* memory = static_cast<unsigned char*>(mg_arena_malloc(arena(), size));
      if (memory == nullptr) continue;
      const auto mark = static_cast<unsigned char>(random());
      std::memset(memory, mark, size);
      live.push_back({memory, size, mark});
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      for (std::size_t at = 0; at < live.back().size; ++at)
        ASSERT_EQ(live.back().memory[at], live.back().mark);
      mg_arena_free(arena(), live.back().memory);
      live.pop_back();
    }
  }
}

}  // namespace
