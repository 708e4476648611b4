// Keeps values for keys: a line "set KEY VALUE", "get KEY" or "clear" on standard input each. After a clear
// the allocator still holds what the values took; that goes back when memgovd asks.
//
//   c++ -std=c++20 -o store store.cc $(pkg-config --cflags --libs memgov) && ./store

#include <iostream>
#include <memgov/memgov.hpp>
#include <sstream>
#include <string>
#include <unordered_map>

int main() {
  const memgov::Session session({
      .name = "store",
      .log = [](std::string_view line) { std::clog << line << std::endl; },
  });
  if (!session) {
    std::cerr << session.error().message() << "\n";
    return 1;
  }
  std::cout << "memgov " << memgov::Session::Version() << std::endl;

  std::unordered_map<std::string, std::string> values;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, key, value;
    words >> command >> key >> std::ws;
    std::getline(words, value);
    if (command == "set") {
      values[key] = value;
    } else if (command == "get") {
      const auto found = values.find(key);
      std::cout << (found == values.end() ? "" : found->second) << std::endl;
    } else if (command == "clear") {
      values.clear();
    } else {
      std::cout << "? " << command << std::endl;
    }
  }
}
