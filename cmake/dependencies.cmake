# The system's packages; scripts/install-deps.sh installs them on Debian and Ubuntu.
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)

# fntk_blas: CBLAS and LAPACKE from any vendor (-DBLA_VENDOR=...).
find_package(BLAS REQUIRED)
find_package(LAPACK REQUIRED)
find_path(FNTK_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas openblas-pthread REQUIRED)
find_path(FNTK_LAPACKE_INCLUDE_DIR lapacke.h PATH_SUFFIXES openblas openblas-pthread REQUIRED)
find_library(FNTK_LAPACKE_LIBRARY lapacke)
add_library(fntk_blas INTERFACE)
target_include_directories(fntk_blas SYSTEM INTERFACE ${FNTK_CBLAS_INCLUDE_DIR} ${FNTK_LAPACKE_INCLUDE_DIR})
if(FNTK_LAPACKE_LIBRARY)
    target_link_libraries(fntk_blas INTERFACE ${FNTK_LAPACKE_LIBRARY})
endif()
target_link_libraries(fntk_blas INTERFACE LAPACK::LAPACK BLAS::BLAS)
