// The parameter types of a kernel as text, so that the launch can check each argument: "Pf4" a float*, "pf4" a const
// float*, "i8" a long long, "f8" a double, "b1" a bool, and so on, one word a parameter.
#pragma once
#include <string>

namespace emu {
template <class T> struct Code {
  static std::string text() {
    if (std::is_same<T, bool>::value) return "b1";
    if (std::is_floating_point<T>::value) return "f" + std::to_string(sizeof(T));
    if (std::is_integral<T>::value) return (std::is_signed<T>::value ? "i" : "u") + std::to_string(sizeof(T));
    return "?" + std::to_string(sizeof(T));
  }
};
template <class T> struct Code<T*> {
  static std::string text() {
    return (std::is_const<T>::value ? "p" : "P") + Code<std::remove_const_t<T>>::text();
  }
};
template <class T> struct Code<T* __restrict__> : Code<T*> {};

template <class... A> static const char* signature(void (*)(A...)) {
  static std::string text;
  text.clear();
  ((text += Code<std::decay_t<A>>::text() + " "), ...);
  return text.c_str();
}
}  // namespace emu
