#include "tests/workloads/code_pages.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <string>

namespace memgov::workloads {
namespace {

TEST(CodePagesTest, ReadsPagesOfAMappedFile) {
  const std::string path = testing::TempDir() + "code_pages";
  std::ofstream(path) << std::string(64 << 10, 'x');
  CodePages pages;
  ASSERT_TRUE(pages.Map(path.c_str()));
  pages.Touch(1000);
}

TEST(CodePagesTest, AnEmptyOrAbsentFileIsNotMapped) {
  CodePages pages;
  EXPECT_FALSE(pages.Map("/nonexistent/code"));
  EXPECT_EQ(errno, ENOENT);
  const std::string path = testing::TempDir() + "empty_code_pages";
  std::ofstream(path).close();
  EXPECT_FALSE(pages.Map(path.c_str()));
}

TEST(CodePagesTest, WithoutAMappingTouchingDoesNothing) { CodePages().Touch(10); }

}  // namespace
}  // namespace memgov::workloads
