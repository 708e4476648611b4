// Which options of which version of mimalloc are a release mode, with options that are only kept.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "client/c/allocators/allocator.h"

namespace {

using Options = std::map<int, long>;

int g_version;
Options g_options;
std::string g_calls;

int Version() { return g_version; }
void Collect(bool force) { g_calls += force ? "collect " : "collect? "; }
void ThreadInit() { g_calls += "init "; }
long Get(int option) { return g_options.at(option); }
void Set(int option, long value) { g_options.at(option) = value; }

const Options kOld = {{11, 0}, {15, 25}, {22, 1}, {23, 500}};
const Options kNew = {{5, 1}, {15, 10}};

mg_allocator* Find(int version, const Options& options) {
  const mg_mimalloc functions = {Version, Collect, ThreadInit, Get, Set};
  g_version = version;
  g_options = options;
  g_calls.clear();
  return mg_mimalloc_allocator(&functions);
}

TEST(MimallocTest, VersionsReadAsPeopleWriteThem) {
  EXPECT_STREQ(Find(209, kOld)->name, "mimalloc 2.0.9");
  EXPECT_STREQ(Find(217, kNew)->name, "mimalloc 2.1.7");
  EXPECT_STREQ(Find(3012, kNew)->name, "mimalloc 3.0.12");
  EXPECT_STREQ(Find(3208, kNew)->name, "mimalloc 3.2.8");
  EXPECT_STREQ(Find(20301, kNew)->name, "mimalloc 2.3.1");
}

TEST(MimallocTest, UntilTwoOneOneFourOptionsAreTheMode) {
  for (const int version : {206, 209, 211}) {
    mg_allocator* allocator = Find(version, kOld);
    ASSERT_TRUE(allocator->capabilities.set_release_mode) << version;
    EXPECT_EQ(allocator->set_mode(MG_MODE_LAZY), nullptr);
    EXPECT_EQ(g_options, (Options{{11, 1}, {15, 25}, {22, 0}, {23, 500}}));
    EXPECT_EQ(allocator->set_mode(MG_MODE_EAGER), nullptr);
    EXPECT_EQ(g_options, (Options{{11, 0}, {15, 0}, {22, 1}, {23, 0}}));
    allocator->restore_mode();
    EXPECT_EQ(g_options, kOld);
  }
}

TEST(MimallocTest, SinceTwoOneTwoTwoOptionsAreTheMode) {
  for (const int version : {182, 212, 224, 10908, 20401, 301, 3012, 3208, 30403}) {
    const Options usual = {{5, 1}, {15, version > 300 && version < 10000 ? 1000 : 10}};
    mg_allocator* allocator = Find(version, usual);
    ASSERT_TRUE(allocator->capabilities.set_release_mode) << version;
    EXPECT_EQ(allocator->set_mode(MG_MODE_LAZY), nullptr);
    EXPECT_EQ(g_options, (Options{{5, 0}, {15, usual.at(15)}}));
    EXPECT_EQ(allocator->set_mode(MG_MODE_EAGER), nullptr);
    EXPECT_EQ(g_options, (Options{{5, 1}, {15, 0}}));
    allocator->restore_mode();
    EXPECT_EQ(g_options, usual);
  }
}

TEST(MimallocTest, OtherVersionsHaveNoModeAndAreReleasedAllTheSame) {
  for (const int version : {160, 181, 200, 205, 230, 20500, 3300, 30500, 40000}) {
    mg_allocator* allocator = Find(version, {});
    EXPECT_FALSE(allocator->capabilities.set_release_mode) << version;
    EXPECT_STREQ(allocator->why_no_mode, "the numbers of this mimalloc's options are not known");
    EXPECT_TRUE(allocator->capabilities.release);
    mg_release release = {};
    EXPECT_EQ(allocator->release(&release), nullptr);
    EXPECT_EQ(g_calls, "init collect ");
  }
}

TEST(MimallocTest, WhatTheProgramSetIsLeftAlone) {
  EXPECT_FALSE(Find(209, {{11, 0}, {15, 24}, {22, 1}, {23, 500}})->capabilities.set_release_mode);
  EXPECT_FALSE(Find(217, {{5, 0}, {15, 10}})->capabilities.set_release_mode);
  mg_allocator* allocator = Find(217, kNew);
  EXPECT_EQ(allocator->set_mode(MG_MODE_EAGER), nullptr);
  g_options[15] = 77;  // in between
  allocator->restore_mode();
  EXPECT_EQ(g_options, (Options{{5, 1}, {15, 77}}));
}

}  // namespace
