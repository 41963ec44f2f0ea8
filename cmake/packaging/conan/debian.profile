# The dependencies as Debian's packages: conan create cmake/packaging/conan --profile cmake/packaging/conan/debian.profile
[settings]
os=Linux
arch=x86_64
compiler=gcc
compiler.version=12
compiler.libcxx=libstdc++11
compiler.cppstd=20
build_type=Release

[platform_requires]
eigen/3.4.0
xsimd/8.1.0
nlohmann_json/3.11.2
stb/2.27
zlib/1.2.13
